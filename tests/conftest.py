"""Settings and fixtures of all tests: backend, seeds, tiny models."""

import ctypes
import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
import zlib
from contextlib import nullcontext, suppress
from pathlib import Path
from unittest import mock

# Set before Keras is imported, so that tests ignore a developer's ~/.keras/keras.json.
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-home-")
# Tests leave nothing in their home, which is also their current folder.
os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
os.environ.setdefault("XDG_CONFIG_HOME", str(Path.home() / ".config"))
os.environ["HOME"] = tempfile.mkdtemp(prefix="tests-home-")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Its kernels are compiled and kept for each shape, which takes half a gigabyte in one file alone.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("MPLBACKEND", "agg")
# A process that returns no memory would grow with each file.
os.environ.setdefault("PIXELCNNPP_KEEP_FREED_MEMORY", "0")
# Threads of torch wait actively, and would take the time of the other processes of pytest-xdist.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Many tests create the same small model, whose functions JAX then compiles only once.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import keras
import numpy as np
import pytest
from backend_tools import eager

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Most graphs run once or twice, so optimizing them takes longer than running them.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    # The destructor of an iterator misses the end of its thread, for which it waits up to a minute.
    without_autotuning, iterate = tf.data.Options(), tf.data.Dataset.__iter__
    without_autotuning.autotune.enabled = False
    tf.data.Dataset.__iter__ = lambda data: iterate(data.with_options(without_autotuning))

BACKENDS = ("tensorflow", "jax", "torch")
HOME = Path.home()


def pytest_collection_modifyitems(config, items):
    """Deselects tests marked `once` under other backends, and skips tests for other backends."""
    current = keras.backend.backend()
    if current != BACKENDS[0]:
        again = [item for item in items if item.get_closest_marker("once")]
        config.hook.pytest_deselected(items=again)
        items[:] = [item for item in items if item not in again]
    for item in items:
        wanted = [name for name in BACKENDS if item.get_closest_marker(name)]
        if wanted and current not in wanted:
            item.add_marker(pytest.mark.skip(reason=f"for {' or '.join(wanted)}, not {current}"))


def collect_garbage():
    """Frees memory, and returns it to the operating system."""
    gc.collect()
    with suppress(AttributeError, TypeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def pytest_collection_finish():
    """Keeps what has been imported, at which later collections need not look again."""
    collect_garbage()
    gc.freeze()


class SharedFixtures:
    """Makes shared fixtures independent of the tests that ran before."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef):
        """Seeds each fixture by its name, so that models of two fixtures have different weights."""
        if fixturedef.scope != "function":
            keras.utils.set_random_seed(zlib.crc32(fixturedef.argname.encode()))
            keras.config.set_dtype_policy("float32")


def pytest_configure(config):
    """Registers a plugin; pytest calls no hook of this file for session fixtures."""
    config.pluginmanager.register(SharedFixtures())


def pytest_unconfigure():
    """Deletes the temporary folders of this process."""
    for name in ("KERAS_HOME", "HOME"):
        shutil.rmtree(os.environ[name], ignore_errors=True)


def process_state():
    """Returns what a test must leave as it was."""
    state = {
        "current folder": Path.cwd(),
        # torch's compiler passes an address to its own code in a variable.
        "environment": {
            **os.environ,
            "PYTEST_CURRENT_TEST": "",
            "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR": "",
        },
        # The import of TensorFlow Probability imports setuptools, which adds its own packages.
        "import path": [path for path in sys.path if not path.endswith("setuptools/_vendor")],
        "signal handlers": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
        "NumPy's errors": np.geterr(),
        "Keras's settings": (keras.config.floatx(), keras.config.image_data_format()),
    }
    if "matplotlib" in sys.modules:
        # Gradio's first page chooses matplotlib's backend.
        settings = {**sys.modules["matplotlib"].rcParams, "backend_fallback": None}
        state["matplotlib's settings"] = settings
    if keras.backend.backend() == "tensorflow":
        state["TensorFlow's functions"] = tf.config.functions_run_eagerly()
    return state


def shared_files(base):
    """Returns the files in `HOME`, and in pytest's base folder except for its own folders."""
    found = {path for folder in (HOME, base) for path in folder.iterdir()}
    return {path for path in found if not path.name[-1].isdigit() and path.name[-7:] != "current"}


def leaves_nothing(base):
    """Fails a test that changes the process, or writes into a folder that it shares with others."""
    os.chdir(HOME)
    before, files = process_state(), shared_files(base)
    yield
    after, written = process_state(), shared_files(base) - files
    for name, value in before.items():
        assert after[name] == value, f"the test changed the {name}"
    assert not written, "the test wrote into its home, current folder or pytest's base folder"


@pytest.fixture(autouse=True)
def leaves_nothing_to_the_next_test(tmp_path_factory):
    yield from leaves_nothing(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True, scope="module")
def leaves_nothing_to_the_next_file(tmp_path_factory):
    """The same for fixtures of a file; also releases the graphs of the file before.

    At the end of a file, pytest still has the fixtures of its last test.
    """
    collect_garbage()
    yield from leaves_nothing(tmp_path_factory.getbasetemp())
    keras.utils.clear_session(free_memory=False)


@pytest.fixture(autouse=True)
def fresh_keras(leaves_nothing_to_the_next_test):
    """Gives every test the same seed, float32 and an empty global state."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.utils.clear_session(free_memory=False)


@pytest.fixture(autouse=True, scope="module")
def eagerly(request, leaves_nothing_to_the_next_file):
    """Runs TensorFlow functions eagerly in the files marked `eagerly`."""
    with eager() if request.node.get_closest_marker("eagerly") else nullcontext():
        yield


@pytest.fixture
def traced():
    """Traces functions that are called many times, in a file marked `eagerly`."""
    with eager(False):
        yield


@pytest.fixture
def rng():
    """A seeded NumPy generator."""
    return np.random.default_rng(0)


# --- tiny models, shared by all tests of a session: 4×4 images of 5 levels, 3 classes -------------
# Imports are local, since some tests need no Keras model. Tests that change a model or a run use
# `tiny.tiny_model()` or the fixture `run`.


@pytest.fixture(scope="session")
def trained():
    """A `PixelCNNPlusPlus` with random weights and the hybrid objective."""
    import tiny

    return tiny.tiny_model(label_loss_weight=1.0, class_names=tiny.NAMES)


@pytest.fixture(scope="session")
def archive(trained, tmp_path_factory):
    """The file of `trained`."""
    path = tmp_path_factory.mktemp("archive") / "model.keras"
    trained.save(path)
    return path


@pytest.fixture(scope="session")
def preset(trained, tmp_path_factory):
    """The folder of a preset of `trained`."""
    path = tmp_path_factory.mktemp("preset") / "tiny"
    trained.save_to_preset(path)
    return path


@pytest.fixture(scope="session")
def savedmodel(trained, tmp_path_factory):
    """The folder of the SavedModel of `trained`, version 1."""
    from keras_pixelcnnpp.export import endpoints

    path = tmp_path_factory.mktemp("run") / "savedmodel"
    with pytest.MonkeyPatch.context() as patch:
        # Its endpoints score four images at a time, and sample three.
        patch.setattr(endpoints, "_MAX_PIXELS", 3 * 16 * 4)
        patch.setattr(endpoints, "_MAX_SAMPLES", 3)
        trained.export(path / "1")
    return path


@pytest.fixture(scope="session")
def exported(savedmodel):
    """The SavedModel, loaded."""
    from keras_pixelcnnpp.export.saved_model import SavedModelClassifier

    return SavedModelClassifier(savedmodel)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A `RunFolder` with both models, untrained, and its data."""
    import tiny

    from keras_pixelcnnpp.data.load import load_dataset
    from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
    from keras_pixelcnnpp.training.run import RunFolder
    from keras_pixelcnnpp.utils.files import write_json

    folder = RunFolder(tmp_path_factory.mktemp("trained"))
    source = str(tiny.save_npz(folder.path / "tiny.npz"))
    data = {**tiny.tiny_data_config(load_dataset(source)), "source": source}
    model = tiny.untrained_pixelcnn(class_names=tiny.NAMES)
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
    """A copy of `trained_run` without a baseline CNN."""
    run.baseline_keras.unlink()
    return run


@pytest.fixture
def figures(monkeypatch):
    """The figures that are rendered, in order, so that tests can compare their content."""
    from matplotlib.figure import Figure

    rendered, savefig = [], Figure.savefig

    def record(figure, *given, **how):
        rendered.append(figure)
        savefig(figure, *given, **how)

    monkeypatch.setattr(Figure, "savefig", record)
    return rendered


@pytest.fixture
def pixelcnnpp(monkeypatch, capsys):
    """Runs the command in this process; returns exit status, stdout and stderr."""
    import pixelcnnpp as program

    # A command adds a filter to TensorFlow's logger for the rest of the process.
    logger = logging.getLogger("tensorflow")
    monkeypatch.setattr(logger, "filters", [*logger.filters])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pixelcnnpp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            program.main()
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    # It also sets variables of the environment, and what Ctrl-C does.
    handler = signal.getsignal(signal.SIGINT)
    with mock.patch.dict(os.environ):
        yield run
    signal.signal(signal.SIGINT, handler)
