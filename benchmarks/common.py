"""What the scripts in this folder share: arguments, times, facts about the machine, JSON."""

import argparse
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.files import write_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ENVIRONMENTS = {"tensorflow": ".venv", "jax": ".venv-jax", "torch": ".venv-torch"}


def argument_parser(description):
    """A parser with the option that nearly all scripts have."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the numbers as JSON")
    return parser


def pythons():
    """The Python of each backend that has an environment; `make test-all` makes them."""
    paths = {name: ROOT / folder / "bin" / "python" for name, folder in ENVIRONMENTS.items()}
    return {name: path for name, path in paths.items() if path.exists()}


def facts():
    """What a speed depends on."""
    import keras

    from keras_pixelcnnpp.backend import device_name, machine

    backend = keras.backend.backend()
    return {
        "backend": backend,
        "backend_version": metadata.version(backend),
        "machine": machine(),
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "keras": keras.__version__,
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def pixelcnnpp(*words, **options):
    """Runs `pixelcnnpp`; options that are `None` are left out."""
    for name, value in options.items():
        if value is not None:
            words += ("--" + name.replace("_", "-"), value)
    subprocess.run([sys.executable, "-m", "keras_pixelcnnpp.cli", *map(str, words)], check=True)


def write_dataset(path, dataset, train):
    """Writes a data set as an .npz file, with these images to train on instead of its own."""
    arrays = {"class_names": np.array(dataset.class_names)}
    for name, split in {**dataset.splits, "train": train}.items():
        arrays[f"x_{name}"] = split.images
        arrays[f"y_{name}"] = split.labels
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def timed(work):
    """What `work()` returns, and how many seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def in_turn(jobs, rounds):
    """Times jobs in turn, round after round, so that a noisy machine disturbs them alike.

    Args:
        jobs: Dict from a name to a function without arguments.
        rounds: Integer; one more comes first, in which everything is compiled.

    Returns:
        Dict from a name to an array of seconds, one for each round.
    """
    times = {name: [] for name in jobs}
    for _ in range(rounds + 1):
        for name, work in jobs.items():
            times[name].append(timed(work)[1])
    return {name: np.array(values[1:]) for name, values in times.items()}


def random_images(count, image_shape, num_classes, seed=0):
    """Random images and labels: speed doesn't depend on them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *image_shape)).astype("uint8")
    return images, rng.integers(0, num_classes, count).astype("int32")


def show(rows):
    """Prints a table of dicts."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*names)
    for row in rows:
        values = (row.get(name, "") for name in names)
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values))
    Console(width=120, markup=False, emoji=False).print(table)


def save(result, output):
    """Writes the numbers where they are wanted, if they are."""
    if output:
        write_json(output, result)
        print(f"Wrote {output}")
