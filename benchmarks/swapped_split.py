"""Copies a data set with other `validation` images, to train a chosen recipe once more.

    python benchmarks/swapped_split.py photographs unseen

The weights of the preset `photographs` were chosen on `validation`. The copy swaps these images
with as many training images, chosen at random with equal numbers of each class. Images on which
trials of the CNN were evaluated (`benchmarks/cnn_tuning.py`) stay in the training split.
"""

import csv
import shutil
from pathlib import Path

import numpy as np
import typer

from keras_pixelcnnpp.data.load import load_dataset

HELD_OUT = 1 / 6  # of the training split, by default, in `cnn_tuning.py`


def rows_of(path):
    """Reads the rows of a CSV file: path, label."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def choose(names, labels, count, seed):
    """Chooses names at random, `count` in all, as many of each class."""
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    chosen = [
        rng.choice(names[labels == label], count // len(classes), replace=False)
        for label in classes
    ]
    return set(np.concatenate(chosen))


def main(data: Path, target: Path, seed: int = 0):
    """Copy the folder DATA, with train.csv and validation.csv, to TARGET."""
    train = load_dataset(data, image_size=8).split("train").labeled()
    fitted, _ = train.hold_out(HELD_OUT, seed=0)
    old = {name: rows_of(data / f"{name}.csv") for name in ("train", "validation")}
    chosen = choose(np.array(fitted.paths), fitted.labels, len(old["validation"]), seed)
    new = {
        "validation": [row for row in old["train"] if row[0] in chosen],
        "train": [row for row in old["train"] if row[0] not in chosen] + old["validation"],
    }
    shutil.copytree(data, target, ignore=shutil.ignore_patterns("*.csv"))
    for name, rows in new.items():
        with (target / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    print(f"Wrote {target}: {', '.join(f'{name} {len(rows)}' for name, rows in new.items())}")


if __name__ == "__main__":
    typer.run(main)
