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
# What runs under every backend: the mathematics, training and drawing with it, and of each room
# that stands on those, what tells whether it works. The rest runs once, under the first of them.
EVERY_BACKEND = (
    "codec",
    "data/test_batches.py",
    "distributions",
    "evaluate/test_classification.py",
    "golden",
    "layers",
    "models",
    "sampling",
    "test_backend.py",
    "test_conditioning",
    "test_optimizers.py",
    "train/test_checkpoints.py",
    "train/test_devices.py",
    "train/test_tensorboard.py",
    "train/test_workers.py",
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
