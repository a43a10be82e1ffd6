"""Measures time and memory of the default network for square gray images of several sizes.

    taskset -c 0 python benchmarks/image_sizes.py

Each size has a process of its own. Times are of the processor, without compiling; the model is
unconditional and learns random images of 256 levels. Memory is the largest resident set of the
process. Writes `benchmarks/results/image_sizes.json`.
"""

import multiprocessing
import resource

import numpy as np
import typer
from common import RESULTS, facts, in_turn, processor_seconds, random_images, save, show

import keras_pixelcnnpp as kp

SIZES = (8, 16, 32, 64)
BATCH = 16


def measure(size):
    """Returns the times for each image and the memory of one image size."""
    kp.keep_freed_memory()
    count = max(2 * BATCH, 16 * BATCH * 16**2 // size**2)
    images, _ = random_images(count, (size, size, 1), 1)
    model = kp.PixelCNNPlusPlus(image_shape=(size, size, 1), num_classes=0)
    model.compile(optimizer="adam")
    jobs = {
        "train": lambda: model.fit(images, batch_size=BATCH, verbose=0),
        "score": lambda: model.log_prob(images),
        "sample": lambda: model.sample(BATCH, seed=0, verbose=0),
    }
    times = in_turn(jobs, rounds=3, seconds=processor_seconds)
    counts = {"train": count, "score": count, "sample": BATCH}
    seconds = {f"{job}_seconds": float(np.median(times[job])) / counts[job] for job in jobs}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"image_size": size, **seconds, "gigabytes": memory}


def main():
    """Measure time and memory by image size."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = [pool.apply(measure, (size,)) for size in SIZES]
    show(rows)
    save(facts() | {"batch_size": BATCH, "rows": rows}, RESULTS / "image_sizes.json")


if __name__ == "__main__":
    typer.run(main)
