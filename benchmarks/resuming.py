"""Kills trainings again and again, resumes them, and compares with one that was left alone.

    python benchmarks/resuming.py --runs 5 --output benchmarks/results/resuming.json

Each of the runs gets up to four signals at random moments, mostly SIGKILL, sometimes SIGTERM, and
is then finished. Its last checkpoint (weights, their averages, the optimizer and the random state)
must be that of the undisturbed run, and no temporary file may be left.
"""

import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import typer
from common import Output, facts, save, timed

TRAINING = (
    *("train", "pixelcnnpp", "--data", "digits", "--epochs", "3", "--likelihood-epochs", "1"),
    *("--batch-size", "32", "--max-examples", "256", "--filters", "8", "--num-resolutions", "1"),
    *("--num-mixtures", "2", "--sample-every", "0"),
)
TOLERANCE = 1e-6


def train(run, seconds=None, number=None):
    """Trains or goes on, and gets a signal after so many seconds; returns status and stderr."""
    command = [sys.executable, "-m", "keras_pixelcnnpp.cli", *TRAINING, "--run", run]
    # config.json is the first thing a training writes: from then on it can be resumed.
    if (run / "config.json").exists():
        command.append("--resume")
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        _, errors = process.communicate()
    return process.returncode, errors.strip()[-300:]


def state(run):
    """Averaged and raw weights, optimizer and random state of the last checkpoint, in one array."""
    with np.load(max((run / "checkpoints" / "pixelcnnpp").glob("epoch-*.npz"))) as arrays:
        return np.concatenate([arrays[name].ravel().astype("float64") for name in sorted(arrays)])


def disturb(run, seconds, rng, figures):
    """Trains with up to four signals; returns what went wrong, or `None`."""
    for _ in range(4):
        number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        status, errors = train(run, rng.uniform(0.1, 1) * seconds, number)
        if status == 0:
            return None
        figures["kills"] += status == -signal.SIGKILL
        figures["stops"] += status == 128 + signal.SIGTERM
        # SIGTERM before the first step is Python's own end.
        if status not in (-signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGTERM):
            return errors
    status, errors = train(run)
    return errors if status else None


def measure(folder, runs, seed):
    """Trains undisturbed, then so many runs that are disturbed."""
    train(folder / "first")  # reads every file of the environment for the first time
    _, seconds = timed(lambda: train(folder / "whole"))
    expected = state(folder / "whole")
    figures = dict.fromkeys(("runs", "kills", "stops", "left_over_files"), 0)
    figures |= {"largest_difference": 0.0, "failures": []}
    rng = random.Random(seed)  # noqa: S311 - moments, no secrets
    for index in range(runs):
        run = folder / f"disturbed-{index}"
        failure = disturb(run, seconds, rng, figures)
        figures["runs"] += 1
        if failure is None:
            distance = float(np.abs(expected - state(run)).max())
            figures["largest_difference"] = max(figures["largest_difference"], distance)
            figures["left_over_files"] += len(list(run.rglob(".*")))
            failure = None if distance <= TOLERANCE else f"differs by {distance}"
        if failure is not None:
            figures["failures"].append(f"{run.name}: {failure}")
        print(figures, flush=True)
    return figures


def main(runs: int = 5, seed: int = 0, output: Output = None):
    """Kill trainings and resume them; fails if one ends otherwise than an undisturbed one."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), runs, seed)
    save(facts() | {"seed": seed} | figures, output)
    sys.exit(bool(figures["failures"]) or not figures["kills"])


if __name__ == "__main__":
    typer.run(main)
