"""A CNN that was trained to classify parts of images, beside the PixelCNN++ of a run.

    python benchmarks/masked_cnn.py runs/digits
    pixelcnnpp evaluate classification --run runs/digits-masked --split test --partial

Copies the run to `runs/digits-masked` and trains its CNN anew, as often on each image as before: of
half of them, at random, only the first rows are left, a random number, and the mean image fills the
rest.
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

MASKED = 0.5  # the share of the images


def with_masked_rows(images, rng):
    """Images of which a share, at random, shows its first rows alone."""
    count, height = images.shape[:2]
    rows = rng.integers(0, height, count)
    rows[rng.random(count) >= MASKED] = height
    hidden = np.arange(height) >= rows[:, None]
    return np.where(hidden[:, :, None, None], mean_image(images), images)


def main(folder: Path):
    """Train a CNN on masked images, of a run with both models trained."""
    masked = RunFolder(folder.with_name(f"{folder.name}-masked"))
    shutil.copytree(folder, masked.path)
    config = masked.read_config()
    options = config["baseline"]["options"]
    dataset = masked.load_data()
    choice = {name: options[name] for name in ("max_examples", "seed")}
    train = dataset.images("train", with_labels=True, **choice)
    # One epoch, in which each image comes as often as in all epochs, each time masked anew.
    train = train.take(np.tile(np.arange(len(train)), options["epochs"]))
    rng = np.random.default_rng(options["seed"])
    train = replace(train, images=with_masked_rows(train.images, rng))
    dataset = replace(dataset, splits={**dataset.splits, "train": train})
    once = {**options, "epochs": 1, "max_examples": None}
    train_baseline(dataset, masked, once, config["data"], Start(overwrite=True, verbose=2))


if __name__ == "__main__":
    typer.run(main)
