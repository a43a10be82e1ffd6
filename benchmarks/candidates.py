"""What four candidate labels cost beside one, by where the label enters the network.

    python benchmarks/candidates.py [--rounds 3] [--output benchmarks/results/candidates.json]

The network is that of the preset `report` with the label put in by `film`, in every block or from
the lowest resolution on (`conditioned_blocks`). Scoring one label and scoring all four take turns,
round after round, so that a noisy machine disturbs them alike; the ratio is the median of those of
the rounds.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.backend import machine

BATCH = 16
PICTURES = 64
SHAPE = (32, 32, 3)
NUM_CLASSES = 4
PLACES = ("all", "up", "up_left")


def seconds(score, *arguments):
    """How long a scoring takes."""
    start = time.perf_counter()
    score(*arguments, batch_size=BATCH)
    return time.perf_counter() - start


def measure(place, images, labels, rounds):
    """A row of the table."""
    model = kp.PixelCNNPlusPlus(SHAPE, NUM_CLASSES, conditioning="film", conditioned_blocks=place)
    times = [
        (seconds(model.log_prob, images, labels), seconds(model.class_log_likelihoods, images))
        for _ in range(rounds + 1)
    ][1:]  # the first compiles
    one, four = np.median(times, axis=0)
    return {
        "conditioned_blocks": place,
        "one_label": float(len(images) / one),
        "four_labels": float(len(images) / four),
        "cost": statistics.median(all_four / single for single, all_four in times),
    }


def main():
    kp.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the figures as JSON, too")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (PICTURES, *SHAPE)).astype("uint8")
    labels = rng.integers(0, NUM_CLASSES, PICTURES)
    rows = [measure(place, images, labels, options.rounds) for place in PLACES]
    table = Table("conditioned blocks", "one label, pictures/s", "four labels", "times one")
    for row in rows:
        figures = (f"{row[name]:.2f}" for name in ("one_label", "four_labels", "cost"))
        table.add_row(row["conditioned_blocks"], *figures)
    Console().print(table)
    if options.output:
        content = {
            "backend": keras.backend.backend(),
            "machine": machine(),
            "cores": len(os.sched_getaffinity(0)),
            "rows": rows,
        }
        options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
