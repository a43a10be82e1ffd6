"""Settings and fixtures that every test has: backend, seeds, tiny trained models."""

import logging
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

# Before Keras is imported: a developer's ~/.keras/keras.json must not choose for the tests.
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-home-")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")
# Many tests make the same small model; JAX compiles each of its functions once for all of them.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import keras
import numpy as np
import pytest

from keras_pixelcnnpp.backend import keep_freed_memory

BACKENDS = ("tensorflow", "jax", "torch")
# What runs under every backend: the mathematics, training and sampling. The rest runs once, under
# the first of them.
EVERY_BACKEND = (
    "codec",
    "data/test_batches.py",
    "distributions",
    "golden",
    "layers",
    "models",
    "sampling",
    "test_backend.py",
    "test_conditioning",
    "test_optimizers.py",
    "train/test_checkpoints.py",
    "train/test_devices.py",
    "train/test_monitors.py",
)
# What calls each compiled function once or twice, and tests something else: TensorFlow runs them
# there in less time than it takes to trace them.
EAGERLY = (
    "app",
    "evaluate",
    "examples",
    "presets",
    "savedmodel/test_compression.py",
    "test_cli.py",
    "train/test_pixelcnnpp.py",
    "train/test_plugins.py",
)

keep_freed_memory()


def pytest_ignore_collect(collection_path):
    """Leaves out, under the other backends, the files that run once."""
    if keras.backend.backend() == BACKENDS[0] or collection_path.is_dir():
        return None
    path = collection_path.relative_to(Path(__file__).parent).as_posix()
    return None if path.startswith(EVERY_BACKEND) else True


def pytest_collection_modifyitems(config, items):
    """Leaves out tests marked to run once, and skips those for another backend."""
    current = keras.backend.backend()
    if current != BACKENDS[0]:
        again = [item for item in items if item.get_closest_marker("once")]
        config.hook.pytest_deselected(items=again)
        items[:] = [item for item in items if item not in again]
    for item in items:
        wanted = [name for name in BACKENDS if item.get_closest_marker(name)]
        if wanted and current not in wanted:
            item.add_marker(pytest.mark.skip(reason=f"for {' or '.join(wanted)}, not {current}"))


class SharedFixtures:
    """What a shared fixture makes doesn't depend on the tests that ran before it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef):
        """Seeds by name: two fixtures of models shouldn't have the same weights."""
        if fixturedef.scope != "function":
            keras.utils.set_random_seed(zlib.crc32(fixturedef.argname.encode()))
            keras.config.set_dtype_policy("float32")


def pytest_configure(config):
    """A plugin, since pytest calls no hook of this file for fixtures of a whole session."""
    config.pluginmanager.register(SharedFixtures())


@pytest.fixture(autouse=True)
def fresh_keras():
    """Every test starts with the same seed, float32 and an empty global state."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.utils.clear_session(free_memory=False)


@pytest.fixture(autouse=True, scope="module")
def eagerly(request):
    """TensorFlow traces no function in the tests of `EAGERLY`."""
    path = request.path.relative_to(Path(__file__).parent).as_posix()
    if keras.backend.backend() != "tensorflow" or not path.startswith(EAGERLY):
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def tensorflow_messages(monkeypatch):
    """What TensorFlow's logger tells within the test, as a list that grows."""
    messages, handler = [], logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger("tensorflow"), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger("tensorflow"), "filters", [])  # of commands before
    return messages


@pytest.fixture
def rng():
    """A seeded NumPy generator."""
    return np.random.default_rng(0)


# --- tiny models, shared by all tests of a session: 4×4 images of 5 levels, 3 classes -------------
# Imports are inside, since some tests need no Keras model. A test that changes what it gets makes
# its own: `tiny.tiny_model()`, or the fixture `run`.


@pytest.fixture(scope="session")
def trained():
    """A `PixelCNNPlusPlus` with random weights and the hybrid objective."""
    import tiny

    return tiny.tiny_model(label_loss_weight=1.0, class_names=tiny.NAMES)


@pytest.fixture(scope="session")
def savedmodel(trained, tmp_path_factory):
    """Path that `trained` was exported to, as version 1."""
    path = tmp_path_factory.mktemp("run") / "savedmodel"
    trained.export(path / "1")
    return path


@pytest.fixture(scope="session")
def exported(savedmodel):
    """The SavedModel, loaded."""
    from keras_pixelcnnpp.export.saved_model import SavedModelClassifier

    return SavedModelClassifier(savedmodel)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A `RunFolder` with both models, as if they had been trained, and its data."""
    import tiny

    from keras_pixelcnnpp.data.load import load_dataset
    from keras_pixelcnnpp.files import write_json
    from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
    from keras_pixelcnnpp.run import RunFolder

    folder = RunFolder(tmp_path_factory.mktemp("trained"))
    source = str(tiny.save_npz(folder.path / "tiny.npz"))
    data = {**tiny.tiny_data_config(load_dataset(source)), "source": source}
    model = tiny.untrained_model(class_names=tiny.NAMES)
    model.initialize(tiny.IMAGES, tiny.LABELS)
    section = {"options": {}, "model": model.get_config()}
    write_json(folder.config_json, {"data": data, "pixelcnnpp": section})
    model.save(folder.model_keras)
    BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1).save(folder.baseline_keras)
    return folder


@pytest.fixture
def run(trained_run, tmp_path):
    """A copy of `trained_run` for one test to change."""
    shutil.copytree(trained_run.path, tmp_path / "run")
    return type(trained_run)(tmp_path / "run")


@pytest.fixture
def run_without_baseline(run):
    """The same without a baseline CNN."""
    run.baseline_keras.unlink()
    return run


@pytest.fixture
def pixelcnnpp(monkeypatch, capsys):
    """Runs the command in this process: returns exit status, stdout and stderr."""
    from keras_pixelcnnpp import cli

    # A command filters messages of TensorFlow's, for as long as its process lives.
    logger = logging.getLogger("tensorflow")
    monkeypatch.setattr(logger, "filters", [*logger.filters])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pixelcnnpp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    return run
