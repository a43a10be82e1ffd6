"""What the scripts in this folder share: options, commands, times, facts about the machine."""

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
from keras_pixelcnnpp.evaluate.classification import words_of
from keras_pixelcnnpp.files import write_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

# Options of several scripts.
Data = Annotated[str, Option(help="The images, as for pixelcnnpp train.")]
Split = Annotated[str, Option(help="The images to measure on.")]
Rounds = Annotated[int, Option(help="Number of measurements, after one in which all is compiled.")]
Output = Annotated[Path | None, Option(help="Write the numbers as JSON.")]


def pixelcnnpp(*words, **options):
    """Runs `pixelcnnpp` with these words and options."""
    command = [sys.executable, "-m", "pixelcnnpp", *words, *words_of(options)]
    subprocess.run(command, check=True)


def write_dataset(path, dataset, train):
    """Writes a data set as an .npz file, with these images to train on instead of its own."""
    arrays = {"class_names": np.array(dataset.class_names)}
    for name, split in {**dataset.splits, "train": train}.items():
        arrays[f"x_{name}"] = split.images
        arrays[f"y_{name}"] = split.labels
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def facts():
    """What a speed depends on."""
    found = versions()
    return found | {
        "backend_version": found[found["backend"]],
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def timed(work):
    """What `work()` returns, and how many seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def in_turn(jobs, rounds, seconds=lambda work: timed(work)[1]):
    """Does jobs in turn, round after round, so that a noisy machine disturbs them alike.

    Args:
        jobs: Dict from a name to a function without arguments.
        rounds: Integer; one more comes first, in which everything is compiled.
        seconds: Does a job and returns the seconds that it took.

    Returns:
        Dict from a name to an array of seconds, one for each round.
    """
    _, *times = [{name: seconds(work) for name, work in jobs.items()} for _ in range(rounds + 1)]
    return {name: np.array([of_round[name] for of_round in times]) for name in jobs}


def random_images(count, image_shape, num_classes, seed=0):
    """Random images and labels: speed doesn't depend on them."""
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
    """Writes the numbers where they are wanted, if they are."""
    if output:
        write_json(output, result)
        print(f"Wrote {output}")
