"""Trains a CNN to classify parts of images, for comparison with the PixelCNN++ of a run.

    python benchmarks/masked_cnn.py runs/digits
    pixelcnnpp evaluate classification --run runs/digits-masked --split test --partial

The script copies the run to `runs/digits-masked`, and trains its CNN again for the same number of
epochs. Half of the images, chosen at random, show only a random number of their first rows; the
mean image replaces the others.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer

from keras_pixelcnnpp.evaluate.classification import mean_image
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.baseline import train_baseline
from keras_pixelcnnpp.train.loop import Start

MASKED = 0.5  # fraction of the images


def with_masked_rows(images, rng):
    """Masks the lower rows of random images."""
    count, height = images.shape[:2]
    rows = rng.integers(0, height, count)
    rows[rng.random(count) >= MASKED] = height
    hidden = np.arange(height) >= rows[:, None]
    return np.where(hidden[:, :, None, None], mean_image(images), images)


def main(folder: Path):
    """Train a CNN on masked images, for a run with both models."""
    masked = RunFolder(folder.with_name(f"{folder.name}-masked"))
    shutil.copytree(folder, masked.path)
    config = masked.read_config()
    options = config["baseline"]["options"]
    dataset = masked.load_data()
    choice = {name: options[name] for name in ("max_examples", "seed")}
    train = dataset.images("train", with_labels=True, **choice)
    # A single long epoch repeats each image with a new mask, once for each original epoch.
    train = train.take(np.tile(np.arange(len(train)), options["epochs"]))
    rng = np.random.default_rng(options["seed"])
    train = replace(train, images=with_masked_rows(train.images, rng))
    dataset = replace(dataset, splits={**dataset.splits, "train": train})
    once = {**options, "epochs": 1, "max_examples": None}
    train_baseline(dataset, masked, once, config["data"], Start(overwrite=True, verbose=2))


if __name__ == "__main__":
    typer.run(main)
