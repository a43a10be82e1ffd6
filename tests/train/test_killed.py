"""Kills and resumes trainings of the command in other processes."""

import os
import signal
import subprocess
import sys
import time

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
PATIENCE = 300  # seconds, on a busy machine


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.save_npz(tmp_path_factory.mktemp("data") / "tiny.npz")


def start(data, run, *arguments, before=""):
    command = [
        *(sys.executable, "-c", before + RUN, "train"),
        *("--data", data, "--run", run, *OPTIONS, *arguments),
    ]
    return subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def checkpoints(run):
    return Checkpoints(run / "checkpoints" / "pixelcnnpp")


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def finish(process, status=0):
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, err
    return out


def die(process):
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL


def final_state(run):
    """Returns weights, their averages, the optimizer, the step counter and the random state."""
    with np.load(run / "checkpoints" / "pixelcnnpp" / "epoch-0010.npz") as state:
        return {name: state[name] for name in state.files}


@pytest.mark.slow
def test_killed_and_stopped_run_ends_as_one_that_never_was(data, tmp_path):
    finish(start(data, tmp_path / "whole"))

    run = tmp_path / "broken"
    die(start(data, run, before=DIES_WRITING))
    assert len(list(run.rglob(".pixelcnnpp-*"))) == 1
    killed_at = checkpoints(run).saved()[-1]
    assert killed_at == Progress(2)

    process = start(data, run, "--resume")
    wait_for(lambda: checkpoints(run).saved()[-1] > killed_at, process)
    process.terminate()
    assert "--resume" in finish(process, 128 + signal.SIGTERM)
    assert {path.name for path in run.rglob(".*")} == {".lock"}
    assert Progress(1) < checkpoints(run).saved()[-1] < Progress(10)

    finish(start(data, run, "--resume"))
    whole, broken = final_state(tmp_path / "whole"), final_state(run)
    assert set(whole) == set(broken)
    for name, value in whole.items():
        np.testing.assert_allclose(broken[name], value, rtol=0, atol=1e-6, err_msg=name)
