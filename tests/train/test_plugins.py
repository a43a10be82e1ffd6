import json
import sqlite3
import sys
from types import ModuleType

import keras
import pytest
import tiny
from command_line import one_line

from keras_pixelcnnpp.conditioning import STRATEGIES
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.plugins import import_plugins, loggers, make_callbacks

MODULE = """
import keras
from keras_pixelcnnpp.conditioning import STRATEGIES, BiasConditioning

class Mine(BiasConditioning):
    pass

STRATEGIES["mine"] = Mine

class Count(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["seen"] = float("val_accuracy" in logs)

made = Count()
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a module of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "users_own.py").write_text(MODULE)
    (tmp_path / "needy.py").write_text("import not_there")
    yield tmp_path
    STRATEGIES.pop("mine", None)
    sys.modules.pop("users_own", None)


@pytest.mark.usefixtures("folder")
def test_callbacks_are_taken_or_made():
    made, given = make_callbacks(["users_own:Count", "users_own:made"])
    assert type(made) is type(given) is sys.modules["users_own"].Count
    assert given is sys.modules["users_own"].made
    (terminate,) = make_callbacks(["keras:callbacks.TerminateOnNaN"])
    assert isinstance(terminate, keras.callbacks.TerminateOnNaN)
    assert make_callbacks(None) == []


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_there:Count", "module that can be imported. Received: 'not_there'"),
        ("users_own.deep:Count", "Received: 'users_own.deep'"),
        (":Count", "Received: ''"),
        ("users_own:Cuont", "no 'Cuont' in users_own"),
        ("users_own", "Expected module:object"),
        ("users_own:number", "users_own:number, which gives 3"),
        ("keras:callbacks.ModelCheckpoint", "without arguments. Received: .*, which gives <class"),
        ("builtins:dict", "which gives {}"),
    ],
)
def test_what_is_no_callback(name, message):
    with pytest.raises(UserError, match=message):
        make_callbacks([name])


@pytest.mark.usefixtures("folder")
def test_what_a_module_itself_lacks_is_its_own_error():
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        import_plugins(["needy"])


def test_commands_use_them(folder, pixelcnnpp):
    data = tiny.save_npz(folder / "data.npz")
    common = ("--data", data, "--run", folder / "run", "--epochs", 1, "--batch-size", 12)
    train = ("train", "pixelcnnpp", *common, "--preset", "digits", "--filters", 4)
    small = ("--num-resolutions", 1, "--num-mixtures", 1, "--sample-every", 0)
    with_callback = ("--callback", "users_own:Count")
    one_line(pixelcnnpp(*train, *small, "--conditioning", "mine"), "conditioning='mine'")
    one_line(pixelcnnpp(*train, "--callback", "users_own:Cuont"), "no 'Cuont'")
    status, _, err = pixelcnnpp(
        *(*train, *small, *with_callback, "--conditioning", "mine", "--plugin", "users_own")
    )
    assert status == 0, err
    command = ("evaluate", "classification", "--run", folder / "run")
    del STRATEGIES["mine"], sys.modules["users_own"]  # as in another process
    one_line(pixelcnnpp(*command), "conditioning='mine'")
    status, _, err = pixelcnnpp("--plugin", "users_own", *command)
    assert status == 0, err
    status, _, err = pixelcnnpp("train", "baseline", *common, *with_callback)
    assert status == 0, err
    run = RunFolder(folder / "run")
    assert run.read_config()["pixelcnnpp"]["model"]["conditioning"] == "mine"
    for section in ("pixelcnnpp", "baseline"):
        # Called after the measurement, and what it logs is kept.
        assert [row["seen"] for row in run.history(section)] == [1.0]


def baseline_of(folder, *options):
    """The words of a training that takes seconds."""
    data = tiny.save_npz(folder / "data.npz")
    common = ("--data", data, "--run", folder / "mine", "--epochs", 2, "--batch-size", 12)
    return ("train", "baseline", *common, *options)


@pytest.fixture
def stand_in(monkeypatch):
    """A module `wandb` that keeps what it is told, in `events`."""
    wandb, inner = ModuleType("wandb"), ModuleType("wandb.integration.keras")
    wandb.Error = type("Error", (Exception,), {})
    wandb.events = events = []

    class Run:
        def __enter__(self):
            return self

        def __exit__(self, kind, *_):
            events.append(("end", kind))

    class WandbMetricsLogger(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            events.append((epoch, dict(logs)))

    def init(**arguments):
        events.append(("start", arguments))
        return Run()

    wandb.init, inner.WandbMetricsLogger = init, WandbMetricsLogger
    for module in (wandb, ModuleType("wandb.integration"), inner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return wandb


def test_a_tracker_gets_options_and_what_is_measured(stand_in, tmp_path, pixelcnnpp):
    status, _, err = pixelcnnpp(*baseline_of(tmp_path, "--log", "wandb"))
    assert status == 0, err
    (_, how), *epochs, (_, failed) = stand_in.events
    assert how["name"] == "mine-baseline"
    assert how["dir"] == tmp_path / "mine" / "logs" / "baseline"
    assert (how["config"]["batch_size"], how["config"]["data"]) == (12, "data.npz")
    assert failed is None
    history = RunFolder(tmp_path / "mine").history("baseline")
    assert [epoch for epoch, _ in epochs] == [0, 1]
    for (_, logs), row in zip(epochs, history, strict=True):
        assert logs == {name: row[name] for name in row if name not in ("epoch", "seconds")}


@pytest.mark.usefixtures("folder")
def test_a_run_at_a_tracker_fails_with_the_training(stand_in, tmp_path):
    with pytest.raises(ZeroDivisionError), loggers(["wandb"], tmp_path, "mine", {}):
        _ = 1 / 0
    assert stand_in.events[-1] == ("end", ZeroDivisionError)


def test_a_tracker_that_refuses(stand_in, tmp_path, pixelcnnpp):
    def init(**arguments):
        raise stand_in.Error("No API key.\nLog in.")

    stand_in.init = init
    result = pixelcnnpp(*baseline_of(tmp_path, "--log", "wandb"))
    one_line(result, "wandb: No API key. Log in.")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed(name, tmp_path, pixelcnnpp, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    one_line(
        pixelcnnpp(*baseline_of(tmp_path, "--log", name)),
        f"Option `log` {name}: {name} is not installed: pip install 'keras-pixelcnnpp[{name}]'",
    )
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
def test_mlflow_itself(tmp_path, pixelcnnpp, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    status, _, err = pixelcnnpp(*baseline_of(tmp_path, "--log", "mlflow"))
    assert status == 0, err
    run = RunFolder(tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"data.npz", "mine"}
    with sqlite3.connect(run.logs("baseline") / "mlflow.db") as database:
        written = database.execute("select key, step, value from metrics").fetchall()
        assert ("batch_size", "12") in database.execute("select key, value from params").fetchall()
        assert database.execute("select name, status from runs").fetchall() == [
            ("mine-baseline", "FINISHED")
        ]
    assert {(key, step): value for key, step, value in written} == {
        (name, row["epoch"] - 1): pytest.approx(value)
        for row in run.history("baseline")
        for name, value in row.items()
        if name not in ("epoch", "seconds")
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
def test_wandb_itself(tmp_path, pixelcnnpp, monkeypatch):
    pytest.importorskip("wandb")
    pytest.importorskip("tensorflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    status, _, err = pixelcnnpp(*baseline_of(tmp_path, "--log", "wandb"))
    assert status == 0, err
    run = RunFolder(tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"data.npz", "mine"}
    (file,) = run.logs("baseline").glob("wandb/offline-run-*/run-*.wandb")
    # Records of protocol buffers, numbers written as JSON.
    content = file.read_bytes()
    for row in run.history("baseline"):
        assert b"epoch/val_accuracy" in content
        assert json.dumps(row["val_accuracy"]).encode() in content
