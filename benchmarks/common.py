"""Helpers of the scripts in this folder: options, commands, timing, facts about the machine."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
from environments import ROOT
from rich.console import Console
from rich.table import Table
from typer import Option

from keras_pixelcnnpp.utils.backend import device_name, versions
from keras_pixelcnnpp.utils.files import write_json

RESULTS = ROOT / "benchmarks" / "results"

# Options of several scripts.
Data = Annotated[str, Option(help="Images, as in pixelcnnpp train.")]
Split = Annotated[str, Option(help="Split to measure on.")]
Rounds = Annotated[int, Option(help="Number of measurements, after one that compiles.")]
Output = Annotated[Path | None, Option(help="JSON file to write the results to.")]


def words_of(options):
    """Converts options to command-line arguments, `--filters 24,48`, and omits `None`."""
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [f"--{flag}", text]
    return words


def pixelcnnpp(*words, **options):
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
    found = versions()
    return found | {
        "backend_version": found[found["backend"]],
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def timed(work, clock=time.perf_counter):
    """Calls `work()`; returns its result and the seconds it took."""
    start = clock()
    result = work()
    return result, clock() - start


def processor_seconds(work):
    return timed(work, time.process_time)[1]


def in_turn(jobs, rounds, seconds=lambda work: timed(work)[1]):
    """Times jobs in turn, round after round, so that a noisy machine affects them equally.

    Returns the seconds of each round by the name of the job. A first round compiles everything.
    """
    _, *times = [{name: seconds(work) for name, work in jobs.items()} for _ in range(rounds + 1)]
    return {name: np.array([of_round[name] for of_round in times]) for name in jobs}


def random_images(count, image_shape, num_classes, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *image_shape)).astype("uint8")
    return images, rng.integers(0, num_classes, count).astype("int32")


def show(rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*(name.replace("_", " ") for name in names))
    for row in rows:
        values = (row.get(name, "") for name in names)
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values))
    Console(width=120, markup=False, emoji=False).print(table)


def save(result, output):
    if output:
        write_json(output, result)
        print(f"Wrote {output}")
