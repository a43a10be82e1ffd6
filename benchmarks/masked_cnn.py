"""Trains a CNN to classify parts of images, for comparison with the PixelCNN++ of a run.

    python benchmarks/masked_cnn.py runs/digits
    pixelcnnpp evaluate classification --run runs/digits-masked --split test --partial

The script copies the run to `runs/digits-masked`, and trains its CNN again for the same number of
epochs. A random third of the images show only a random number of their first rows, and another
third one of the parts that `benchmarks/completion.py` classifies; each epoch draws new masks. The
mean image replaces the unknown pixels.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer
from common import parts

from keras_pixelcnnpp.evaluate.classification import mean_image
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.baseline import train_baseline
from keras_pixelcnnpp.train.loop import Start


def first_rows(count, shape, rng):
    """Returns masks that show a random number of first rows, bool `(count, height, width)`."""
    rows = rng.integers(0, shape[0], count)
    return np.broadcast_to(np.arange(shape[0])[:, None] < rows[:, None, None], (count, *shape))


def random_parts(count, shape, rng):
    """Returns masks that show one of `parts` each, bool `(count, height, width)`."""
    masks = np.stack(list(parts(count, shape, rng).values()))
    return masks[rng.integers(len(masks), size=count), np.arange(count)]


def mask(images, rng):
    """Masks two thirds of the images."""
    count, *shape, _ = images.shape
    whole = np.ones((count, *shape), bool)
    ways = np.stack([whole, first_rows(count, shape, rng), random_parts(count, shape, rng)])
    known = ways[rng.integers(len(ways), size=count), np.arange(count)]
    return np.where(known[..., None], images, mean_image(images))


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
    rng, epochs = np.random.default_rng(options["seed"]), options["epochs"]
    images = np.concatenate([mask(train.images, rng) for _ in range(epochs)])
    train = replace(train.take(np.tile(np.arange(len(train)), epochs)), images=images)
    dataset = replace(dataset, splits={**dataset.splits, "train": train})
    once = {**options, "epochs": 1, "max_examples": None}
    train_baseline(dataset, masked, once, config["data"], Start(overwrite=True, verbose=2))


if __name__ == "__main__":
    typer.run(main)
