"""Measures time and memory of the default network for square gray images of several sizes.

    taskset -c 0 python benchmarks/image_sizes.py

Each size has a process of its own. Times are of the processor, without compiling; the model is
unconditional and learns random images of 256 levels. Memory is the largest resident set of the
process. Writes `benchmarks/results/image_sizes.json`.
"""

import json
import resource
import subprocess
import sys
import time
from typing import Annotated

import numpy as np
import typer
from common import RESULTS, facts, random_images, save, show
from typer import Option

import keras_pixelcnnpp as kp

SIZES = (8, 16, 32, 64)
BATCH = 16


def seconds_per_image(work, count, rounds=3):
    """Returns processor seconds for each image: the median of some rounds, after one."""
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) / count)
    return float(np.median(times[1:]))


def measure(size):
    """Returns the times and the memory of one image size."""
    kp.keep_freed_memory()
    count = max(2 * BATCH, 16 * BATCH * 16**2 // size**2)
    images, _ = random_images(count, (size, size, 1), 1)
    model = kp.PixelCNNPlusPlus(image_shape=(size, size, 1), num_classes=0)
    model.compile(optimizer="adam")
    fit = {"batch_size": BATCH, "verbose": 0}
    return {
        "image_size": size,
        "train_seconds": seconds_per_image(lambda: model.fit(images, **fit), count),
        "score_seconds": seconds_per_image(lambda: model.log_prob(images), count),
        "sample_seconds": seconds_per_image(lambda: model.sample(BATCH, seed=0, verbose=0), BATCH),
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main(size: Annotated[int | None, Option(help="Measure only this size, and print it.")] = None):
    """Measure time and memory by image size."""
    if size:
        print(json.dumps(measure(size)))
        return
    rows = []
    for size in SIZES:
        command = [sys.executable, __file__, "--size", str(size)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(found.splitlines()[-1]))
    show(rows)
    save(facts() | {"batch_size": BATCH, "rows": rows}, RESULTS / "image_sizes.json")


if __name__ == "__main__":
    typer.run(main)
