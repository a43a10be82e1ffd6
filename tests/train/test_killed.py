"""Kills and resumes a training of the command in other processes."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.training.checkpoints import Checkpoints, Progress

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="SIGKILL"), pytest.mark.once]
# Dies while it writes the third checkpoint.
DIES_WRITING = """
import os, signal
import numpy as np
savez, calls = np.savez, []
def savez_or_die(file, **arrays):
    calls.append(file)
    if len(calls) == 3:
        file.write(b"half a checkpoint")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    savez(file, **arrays)
np.savez = savez_or_die
"""
RUN = "import pixelcnnpp; pixelcnnpp.main()"
# A small network with all kinds of randomness: dropout and candidate labels.
OPTIONS = [
    *("--network", "pixelcnn", "--filters", 4, "--num-blocks", 1, "--num-mixtures", 1),
    *("--epochs", 10, "--likelihood-epochs", 5, "--batch-size", 4, "--label-loss-weight", 0.3),
    *("--num-candidates", 2, "--dropout-rate", 0.3, "--ema-momentum", 0.9, "--sample-every", 0),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.save_npz(tmp_path_factory.mktemp("data") / "tiny.npz")


def train(data, run, *arguments, before=""):
    """Trains in another process, after some code; returns the exit status."""
    words = ["--data", data, "--run", run, *OPTIONS, *arguments]
    command = [sys.executable, "-c", before + RUN, "train", *map(str, words)]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL, timeout=300).returncode


@pytest.mark.slow
def test_killed_run_ends_as_one_that_never_was(data, tmp_path):
    assert train(data, tmp_path / "whole") == 0
    run = tmp_path / "broken"
    assert train(data, run, before=DIES_WRITING) == -signal.SIGKILL
    assert len(list(run.rglob(".pixelcnnpp-*"))) == 1
    assert Checkpoints(run / "checkpoints" / "pixelcnnpp").saved()[-1] == Progress(2)
    assert train(data, run, "--resume") == 0
    assert {path.name for path in run.rglob(".*")} == {".lock"}
    # Weights, their averages, the optimizer, the step counter and the random state.
    last = "checkpoints/pixelcnnpp/epoch-0010.npz"
    with np.load(tmp_path / "whole" / last) as whole, np.load(run / last) as broken:
        assert set(whole) == set(broken)
        for name, value in whole.items():
            np.testing.assert_allclose(broken[name], value, rtol=0, atol=1e-6, err_msg=name)
