r"""Few images have a label: what are the others worth?

    python benchmarks/few_labels.py --data digits --labels-per-class 5,25 --seeds 0,1,2 \
        --output benchmarks/results/few_labels-digits.json

PixelCNN++ learns from the labeled images alone, or from all: p(x) of those without a label. The
CNN learns from the labeled ones alone, or from pseudo-labels too: its own predictions for the
others, first for the half with the highest confidence, then for all (curriculum labeling,
Cascante-Bonilla et al. 2021, https://arxiv.org/abs/2001.06001). Which images have a label depends
on the seed, and is the same for all four.

The commands train everything, on data sets that are written into the run folders. The results are
written after each training; the same command goes on after an interruption.
"""

import math
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer
from common import Data, Split, pixelcnnpp, save, show, timed, write_dataset
from results import WAYS, over_seeds
from typer import Option

from keras_pixelcnnpp.backend import machine
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.files import read_json
from keras_pixelcnnpp.presets import preset_names
from keras_pixelcnnpp.run import COMMANDS, RunFolder
from keras_pixelcnnpp.train.options import NOT_MIRRORED, with_options

SUREST = (0.5, 1.0)  # shares of the images without a label that the CNN learns from, in turn
SMALL_BATCH = 10  # of PixelCNN++ where the labeled images are all
# Options that only `train` has, to which they are handed on.
OF_PIXELCNNPP = ("preset", "filters", "num_resolutions", "dropout_rate", "learning_rate")
OF_PIXELCNNPP += ("num_blocks", "label_loss_weight")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes; what has no help is as for `pixelcnnpp train`."""

    data: Data
    image_size: int | None = None
    max_examples: Annotated[int | None, Option(help="Training images, with a label or not.")] = None
    split: Split = "test"
    preset: str | None = None
    filters: str | None = None
    num_blocks: str | None = None
    num_resolutions: int | None = None
    dropout_rate: float | None = None
    label_loss_weight: float | None = None
    learning_rate: float | None = None
    labeled_fraction: Annotated[float, Option(help="Share of an epoch of all images.")] = 0.3
    epochs: Annotated[int, Option(help="Of PixelCNN++, over all images.")] = 3
    batch_size: Annotated[int, Option(help="Of PixelCNN++, of all images.")] = 64
    cnn_epochs: Annotated[int, Option(help="Of the CNN, over all images.")] = 5
    shown: Annotated[int, Option(help="Images to PixelCNN++, from labeled ones.")] = 5000
    cnn_shown: Annotated[int, Option(help="Images to the CNN, from labeled ones.")] = 20_000
    precision: str = "float32"
    labels_per_class: str = "10,25,100"
    seeds: str = "0,1"
    run: Path = Path("runs/few_labels")
    output: Path = Path("few_labels.json")


def hide_labels(images, per_class, seed):
    """The images, of which so many of each class, at random, keep their label."""
    rows = np.random.default_rng([seed, per_class]).permutation(len(images))
    labels = np.full_like(images.labels, -1)
    for label in np.unique(images.labels[images.labels >= 0]):
        labels[rows[images.labels[rows] == label][:per_class]] = label
    return replace(images, labels=labels)


def with_repeats(labeled, others, share):
    """Both, the labeled ones as often as makes them this share of all."""
    wanted = round(len(others) * share / (1 - share))
    return np.concatenate([np.resize(labeled, max(len(labeled), wanted)), others])


def given(kind, options, seed):
    """The options of `pixelcnnpp train` that all trainings of a kind have in common."""
    how = {"seed": seed, "precision": options.precision}
    if kind == "baseline":
        return how | {"horizontal_flip": options.data not in NOT_MIRRORED}
    how |= {"learning_rate_schedule": "cosine", "likelihood_epochs": 0, "sample_every": 0}
    how |= {name: getattr(options, name) for name in OF_PIXELCNNPP}
    if options.preset is None and options.data in preset_names():
        how["preset"] = options.data
    return how


def train(way, options, labels_per_class, seed):
    """Trains in one way; returns the model, and the images to measure it on."""
    kind = "pixelcnnpp" if way.startswith("pixelcnnpp") else "baseline"
    run = RunFolder(options.run / f"{way}-{labels_per_class}-{seed}")
    dataset = load_dataset(options.data, image_size=options.image_size)
    images = dataset.split("train").some(options.max_examples, seed)
    images = hide_labels(images, labels_per_class, seed)
    labeled = np.random.default_rng(seed).permutation(np.flatnonzero(images.labels >= 0))
    others = np.flatnonzero(images.labels < 0)
    how = given(kind, options, seed) | {"data": run.path / "data.npz", "run": run.path}

    def fit(rows, labels, **more):
        write_dataset(how["data"], dataset, replace(images, labels=labels).take(rows))
        pixelcnnpp(COMMANDS[kind], overwrite=True, **how, **more)
        return keras.saving.load_model(run.model(kind))

    def epochs(shown, rows):
        return max(1, round(shown / len(rows)))

    if way == "pixelcnnpp_all":
        more = {"epochs": options.epochs, "batch_size": options.batch_size, "unlabeled_weight": 1}
        model = fit(with_repeats(labeled, others, options.labeled_fraction), images.labels, **more)
    elif way == "pixelcnnpp":
        more = {"epochs": epochs(options.shown, labeled), "batch_size": SMALL_BATCH}
        model = fit(labeled, images.labels, **more)
    else:
        model = fit(labeled, images.labels, epochs=epochs(options.cnn_shown, labeled))
    for share in SUREST if way == "cnn_pseudo_labels" else ():
        guessed = model.class_probabilities(images.images[others])
        confident = np.argsort(-guessed.max(axis=1))[: round(share * len(others))]
        labels = images.labels.copy()
        labels[others[confident]] = guessed[confident].argmax(axis=1)
        # The true labels come as often as to PixelCNN++.
        rows = with_repeats(labeled, others[confident], options.labeled_fraction)
        times = math.ceil(options.cnn_shown / len(rows))
        model = fit(rows, labels, epochs=max(options.cnn_epochs, times))
    return model, dataset.images(options.split, with_labels=True)


def main(options):
    told = ("labels_per_class", "seeds", "run", "output")
    asked = {name: value for name, value in vars(options).items() if name not in told}
    asked["data"] = Path(options.data).name  # not where it lies
    rows = []
    if options.output.exists():
        known = read_json(options.output)
        if known["options"] != asked:
            raise SystemExit(f"{options.output} is of other options; name another file")
        rows = known["rows"]
    numbers, seeds = (
        [int(n) for n in text.split(",")] for text in (options.labels_per_class, options.seeds)
    )
    for seed, labels_per_class, way in product(seeds, numbers, WAYS):
        trial = {"way": way, "labels_per_class": labels_per_class, "seed": seed}
        if any(row.items() >= trial.items() for row in rows):
            continue
        (model, unseen), seconds = timed(lambda trial=trial: train(options=options, **trial))
        predicted = model.class_probabilities(unseen.images).argmax(axis=1)
        accuracy = float(np.mean(predicted == unseen.labels))
        rows.append({**trial, "accuracy": accuracy, "seconds": round(seconds, 1)})
        report = {"options": asked, "count": len(unseen), "machine": machine(), "rows": rows}
        save(report, options.output)
    table = [
        {"": title} | {str(n): over_seeds(rows, way=way, labels_per_class=n) for n in numbers}
        for way, title in WAYS.items()
    ]
    show(table)


if __name__ == "__main__":
    typer.run(with_options(Options)(main))
