"""Helpers of the scripts in this folder: options, commands, timing, facts about the machine."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.console import Console
from rich.table import Table
from typer import Option

from keras_pixelcnnpp.backend import device_name, versions
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.recipe import words_of

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

# Options of several scripts.
Data = Annotated[str, Option(help="Images, as in pixelcnnpp train.")]
Split = Annotated[str, Option(help="Split to measure on.")]
Rounds = Annotated[int, Option(help="Number of measurements, after one that compiles.")]
Output = Annotated[Path | None, Option(help="JSON file to write the results to.")]


def pixelcnnpp(*words, **options):
    """Runs the command `pixelcnnpp` with some words and options."""
    command = [sys.executable, "-m", "pixelcnnpp", *words, *words_of(options)]
    subprocess.run(command, check=True)


def write_dataset(path, dataset, train):
    """Writes a data set as an .npz file, with its training images replaced by `train`."""
    arrays = {"class_names": np.array(dataset.class_names)}
    for name, split in {**dataset.splits, "train": train}.items():
        arrays[f"x_{name}"] = split.images
        arrays[f"y_{name}"] = split.labels
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def middle(shape, size):
    """Returns a mask of the `size` × `size` pixels in the middle, bool `(height, width)`."""
    rows, columns = (np.abs(2 * np.arange(side) + 1 - side) < size for side in shape)
    return rows[:, None] & columns


def facts():
    """Returns facts that a speed depends on: versions, device, cores and load."""
    found = versions()
    return found | {
        "backend_version": found[found["backend"]],
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def timed(work):
    """Calls `work()`; returns its result and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def in_turn(jobs, rounds, seconds=lambda work: timed(work)[1]):
    """Times jobs in turn, round after round, so that a noisy machine affects them equally.

    Args:
        jobs: Dict from names to functions without arguments.
        rounds: Number of rounds, after a first one that compiles everything.
        seconds: Function that runs a job and returns the seconds it took.

    Returns:
        Dict from names to arrays of seconds, one for each round.
    """
    _, *times = [{name: seconds(work) for name, work in jobs.items()} for _ in range(rounds + 1)]
    return {name: np.array([of_round[name] for of_round in times]) for name in jobs}


def random_images(count, image_shape, num_classes, seed=0):
    """Returns random images and labels, for measurements of speed."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *image_shape)).astype("uint8")
    return images, rng.integers(0, num_classes, count).astype("int32")


def show(rows):
    """Prints a table of dicts."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*(name.replace("_", " ") for name in names))
    for row in rows:
        values = (row.get(name, "") for name in names)
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values))
    Console(width=120, markup=False, emoji=False).print(table)


def save(result, output):
    """Writes a result as JSON if `output` is given."""
    if output:
        write_json(output, result)
        print(f"Wrote {output}")
