"""Kills trainings and resumes them; serves requests.

python benchmarks/soak.py --minutes 8 --output soak.json

Each part is a function of the time it may take, the folder it may use and a random generator; it
returns figures, of which `failures` decides about the exit status.
"""

import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import argument_parser, save
from serving import serve_requests

TRAINING = [
    *("--data", "digits", "--preset", "digits", "--epochs", "3", "--likelihood-epochs", "1"),
    *("--batch-size", "32", "--max-examples", "256", "--filters", "8", "--num-resolutions", "1"),
    *("--num-mixtures", "2", "--sample-every", "0"),
]
TOLERANCE = 1e-6


def kill_and_resume(seconds, folder, rng):
    """Trains, is killed with SIGKILL (or stopped with SIGTERM) again and again, and compares."""
    end = time.monotonic() + seconds
    _train(folder / "whole", [], end)
    # Once more: the first one also read every file of the environment for the first time, and a
    # moment chosen within its time would often come after the end of a later one.
    start = time.monotonic()
    _train(folder / "whole", ["--overwrite"], end)
    whole_seconds = time.monotonic() - start
    expected = _weights(folder / "whole")
    figures = dict.fromkeys(("runs", "kills", "stops", "left_over_files"), 0)
    figures |= {"largest_difference": 0.0, "failures": []}
    # One more run takes about twice as long as an uninterrupted one.
    while time.monotonic() + 2 * whole_seconds < end:
        run = folder / f"broken-{figures['runs']}"
        try:
            failure = _break_and_finish(run, whole_seconds, rng, figures, end)
        except subprocess.TimeoutExpired:
            break  # the time is up; half a run tells nothing
        figures["runs"] += 1
        if failure is None:
            difference = _difference(expected, _weights(run))
            figures["largest_difference"] = max(figures["largest_difference"], difference)
            figures["left_over_files"] += len(list(run.rglob(".*")))
            failure = None if difference <= TOLERANCE else f"differs by {difference}"
        if failure is not None:
            figures["failures"].append(f"{run.name}: {failure}")
        print(figures, flush=True)
    if not figures["kills"]:
        figures["failures"].append("no run was killed and finished in the time given")
    return figures


def _break_and_finish(run, whole_seconds, rng, figures, end):
    """Trains with up to four interruptions; returns what went wrong, or None."""
    for _ in range(4):
        moment = rng.uniform(0.1, 1.0) * whole_seconds
        number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        status, stderr = _train_until(run, moment, number)
        if status == 0 and (run / "model.keras").exists():
            return None
        figures["kills"] += status == -signal.SIGKILL
        figures["stops"] += status == 128 + signal.SIGTERM
        # SIGTERM before the first step is Python's own end.
        if status not in (0, 128 + signal.SIGTERM, -signal.SIGKILL, -signal.SIGTERM):
            return stderr.strip()[-300:]
    process = _train(run, _resume(run), end)
    return None if process.returncode == 0 else process.stderr.strip()[-300:]


def _resume(run):
    # config.json is the first thing a training writes: from then on it can be resumed.
    return ["--resume"] if (run / "config.json").exists() else []


def _command(run, options):
    main = [sys.executable, "-m", "keras_pixelcnnpp.cli"]
    return [*main, "train", "pixelcnnpp", "--run", str(run), *TRAINING, *options]


def _train(run, options, end):
    seconds = max(1, end - time.monotonic())
    command = _command(run, options)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)


def _train_until(run, seconds, number):
    process = subprocess.Popen(
        _command(run, _resume(run)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        _, stderr = process.communicate()
    return process.returncode, stderr


def _weights(run):
    """Averaged and raw weights, optimizer and random state: all of the last checkpoint."""
    folder = run / "checkpoints" / "pixelcnnpp"
    with np.load(max(folder.glob("epoch-*.npz"))) as state:
        return {name: state[name] for name in state.files}


def _difference(expected, received):
    if set(expected) != set(received):
        return float("inf")
    return max(
        float(np.abs(np.subtract(expected[name], received[name], dtype="float64")).max(initial=0))
        for name in expected
    )


PARTS = {
    "kill_and_resume": kill_and_resume,
    "requests_served": serve_requests,
}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=8, help="for all parts together")
    parser.add_argument("--part", choices=PARTS, action="append", help="default: each")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    parts = options.part or list(PARTS)
    result = {
        "seed": options.seed,
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            seconds = 60 * options.minutes / len(parts)
            rng = random.Random(options.seed)  # noqa: S311 - moments, no secrets
            result[part] = PARTS[part](seconds, Path(folder), rng)
    print(json.dumps(result, indent=2))
    save(result, options.output)
    if any(result[part]["failures"] for part in parts):
        sys.exit(1)


if __name__ == "__main__":
    main()
