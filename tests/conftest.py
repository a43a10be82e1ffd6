"""Settings and fixtures that every test has: backend, seeds, small data."""

import os
import shutil
import subprocess
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

from keras_pixelcnnpp.memory import keep_freed_memory

BACKENDS = ("tensorflow", "jax", "torch")
# What no backend touches runs once, under TensorFlow; so does what takes long and hardly does.
ONCE = (
    "app",
    "data",
    "evaluate",
    "examples",
    "presets",
    "test_files.py",
    "test_hostile_configurations.py",
    "test_house.py",
    "test_memory.py",
    "test_results.py",
    "test_run.py",
    "train/test_data.py",
    "train/test_fusion.py",
    "train/test_killed.py",
    "train/test_options.py",
    "train/test_plugins.py",
)
# Of these rooms, one file tells whether they work under a backend.
NOT_ONCE = ("data/test_batches.py", "evaluate/test_classification.py")

keep_freed_memory()


def pytest_ignore_collect(collection_path):
    """Leaves out, under the other backends, what doesn't depend on one."""
    if keras.backend.backend() == BACKENDS[0] or collection_path.is_dir():
        return None
    path = collection_path.relative_to(Path(__file__).parent).as_posix()
    return (path.startswith(ONCE) and path not in NOT_ONCE) or None


def pytest_collection_modifyitems(items):
    """Skips tests marked with another backend than the one that runs."""
    current = keras.backend.backend()
    for item in items:
        wanted = [name for name in BACKENDS if item.get_closest_marker(name)]
        if wanted and current not in wanted:
            item.add_marker(pytest.mark.skip(reason=f"for {' or '.join(wanted)}, not {current}"))


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef):
    """What a file's own fixture draws doesn't hang on the tests that ran before it."""
    if fixturedef.scope != "function":
        # Two fixtures of models shouldn't have the same weights.
        keras.utils.set_random_seed(zlib.crc32(fixturedef.argname.encode()))


@pytest.fixture(autouse=True)
def fresh_keras():
    """Every test starts with the same seed, float32 and an empty global state."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.utils.clear_session(free_memory=False)


@pytest.fixture
def rng():
    """A seeded NumPy generator."""
    return np.random.default_rng(0)


@pytest.fixture
def small_disk(tmp_path):
    """A folder that holds 64 KiB at most: a disk of its own, or a limit on the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    may_mount = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount")
    if may_mount and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", folder], check=True)
        return
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def pixelcnnpp(monkeypatch, capsys):
    """Runs the command in this process: returns exit status, stdout and stderr."""
    from keras_pixelcnnpp import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pixelcnnpp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    return run
