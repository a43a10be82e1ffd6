import sys

import keras
import pytest
import tiny
from command_line import done, one_line

from keras_pixelcnnpp.commands import processes
from keras_pixelcnnpp.commands.plugins import import_plugins, imported_plugins, make_callbacks
from keras_pixelcnnpp.layers.conditioning import STRATEGIES
from keras_pixelcnnpp.training.recipe import PixelCNNRecipe
from keras_pixelcnnpp.training.run import RunFolder

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

MODULE = """
import keras
from keras_pixelcnnpp.layers.conditioning import STRATEGIES, BiasConditioning

class Mine(BiasConditioning):
    pass

STRATEGIES["mine"] = Mine

class Count(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["seen"] = float("val_accuracy" in logs)

made = Count()

def tracker(recipe, run):
    callback = Count()
    callback.given = (run.path.name, recipe.epochs, recipe.batch_size)
    return callback
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a module of the user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "users_own.py").write_text(MODULE)
    yield tmp_path
    STRATEGIES.pop("mine", None)
    sys.modules.pop("users_own", None)
    imported_plugins.clear()


@pytest.mark.usefixtures("folder")
def test_callbacks_are_taken_or_made():
    made, given = make_callbacks(["users_own:Count", "users_own:made"])
    assert type(made) is type(given) is sys.modules["users_own"].Count
    assert given is sys.modules["users_own"].made
    (stopping,) = make_callbacks(["keras.callbacks:EarlyStopping"])
    assert isinstance(stopping, keras.callbacks.EarlyStopping)
    assert make_callbacks(None) == []
    run, recipe = RunFolder("runs/mine"), PixelCNNRecipe(epochs=3, batch_size=5)
    (tracker,) = make_callbacks(["users_own:tracker"], run=run, recipe=recipe)
    assert tracker.given == ("mine", 3, 5)


def test_a_worker_process_imports_them(folder, tmp_path_factory, monkeypatch):
    """A worker of Ray has another working directory."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "1")  # restores it afterwards
    import_plugins(["users_own"])
    tiny.tiny_model(conditioning="mine").save(folder / "model.keras")
    plugins = {"names": [*imported_plugins], "folder": folder}
    del STRATEGIES["mine"], sys.modules["users_own"]  # as in a new process
    monkeypatch.chdir(tmp_path_factory.mktemp("worker"))
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(folder)])
    worker = processes._Worker(None, folder / "model.keras", 1, plugins)
    assert worker.trained.model.num_classes == 3


@pytest.mark.slow
def test_commands_use_them(folder, pixelcnnpp):
    data = tiny.save_npz(folder / "data.npz")
    common = ("--data", data, "--run", folder / "run", "--epochs", 1, "--batch-size", 12)
    train = ("train", *common, "--preset", "digits", "--filters", 4)
    small = ("--num-resolutions", 1, "--num-mixtures", 1, "--sample-every", 0)
    with_callback = ("--callback", "users_own:Count")
    one_line(pixelcnnpp(*train, *small, "--conditioning", "mine"), "conditioning='mine'")
    one_line(pixelcnnpp(*train, "--callback", "users_own:Cuont"), "Cuont")
    options = (*small, "--conditioning", "mine", "--callback", "users_own:tracker")
    plugin = ("--plugin", "users_own")
    done(pixelcnnpp(*plugin, *train, *options))
    imported_plugins.clear()
    command = ("evaluate", "classification", "--run", folder / "run")
    del STRATEGIES["mine"], sys.modules["users_own"]  # as in a new process
    one_line(pixelcnnpp(*command), "conditioning='mine'")
    done(pixelcnnpp(*plugin, *command))
    done(pixelcnnpp("train-baseline", *common, *with_callback))
    resume = ("train", "--run", folder / "run", "--resume", "--epochs", 2)
    imported_plugins.clear()
    callback = ("--callback", "users_own:tracker")
    one_line(pixelcnnpp(*resume), f"pixelcnnpp --plugin users_own train {' '.join(callback)}")
    done(pixelcnnpp(*plugin, *resume, *callback))
    run = RunFolder(folder / "run")
    assert run.read_config()["pixelcnnpp"]["model"]["conditioning"] == "mine"
    # Called after the evaluation, and its logs are kept. A resumed run is given both again.
    assert [row["seen"] for row in run.history("pixelcnnpp")] == [1.0, 1.0]
    assert [row["seen"] for row in run.history("baseline")] == [1.0]
    assert run.read_config()["pixelcnnpp"]["options"]["callback"] == ["users_own:tracker"]
