"""Tests of numbers with oneDNN, TensorFlow's default on x86, which conftest.py switches off."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The likelihoods and gradients of a reference, the codec's numbers, and training runs.
TESTS = (
    "tests/golden/test_golden.py",
    "tests/codec/test_exact.py",
    "tests/training/test_training.py::test_training_stays_finite",
)


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is for x86")
def test_numbers_with_onednn(tmp_path):
    """A process chooses its kernels once, so the tests of numbers run again in another one."""
    environ = {name: x for name, x in os.environ.items() if not name.startswith("PYTEST_")}
    environ |= {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "0"}
    # Without output captured, in which TensorFlow says which kernels it has chosen.
    options = ("-n", "0", "-q", "-s", "-m", "", "-p", "no:cacheprovider", "--basetemp", tmp_path)
    command = [sys.executable, "-m", "pytest", *options, *TESTS]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert "oneDNN custom operations are on" in done.stderr
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
