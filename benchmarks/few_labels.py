r"""Measures how much unlabeled images help if only few images have labels.

    python benchmarks/few_labels.py --data digits --labels-per-class 5,25 --seeds 0,1,2 \
        --output benchmarks/results/few_labels-digits.json

PixelCNN++ is trained on the labeled images only, or also on p(x) of the unlabeled images. The CNN
is trained on the labeled images only, or also on pseudo-labels, its own predictions for the
unlabeled images: first for the most confident half, then for all (curriculum labeling,
Cascante-Bonilla et al. 2021, https://arxiv.org/abs/2001.06001). The seed determines which images
have labels, which are the same in all four cases. Each training shows the model the same number
of images, counting repetitions.

All models are trained by the commands, on data sets in the run folders. Results are written after
each training; run the same command again to continue after an interruption.
"""

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

from keras_pixelcnnpp.commands.helpers import with_options
from keras_pixelcnnpp.data.load import load_dataset, source_of
from keras_pixelcnnpp.presets import preset_names
from keras_pixelcnnpp.recipes.recipe import COMMANDS
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.backend import machine
from keras_pixelcnnpp.utils.files import read_json

SUREST = (0.5, 1.0)  # fractions of the unlabeled images that get pseudo-labels, in turn
SMALL_BATCH = 10  # batch size of PixelCNN++ on labeled images only
# Options that only `pixelcnnpp train` has.
OF_PIXELCNNPP = ("preset", "filters", "num_resolutions", "dropout_rate", "learning_rate")
OF_PIXELCNNPP += ("num_blocks", "label_loss_weight")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the script. Those without help are options of `pixelcnnpp train`."""

    data: Data
    image_size: int | None = None
    max_examples: Annotated[
        int | None, Option(help="Number of training images, labeled or not.")
    ] = None
    split: Split = "test"
    preset: str | None = None
    filters: str | None = None
    num_blocks: str | None = None
    num_resolutions: int | None = None
    dropout_rate: float | None = None
    label_loss_weight: float | None = None
    learning_rate: float | None = None
    labeled_fraction: Annotated[
        float, Option(help="Fraction of labeled images in an epoch over all images.")
    ] = 0.3
    batch_size: Annotated[int, Option(help="Batch size of PixelCNN++ on all images.")] = 64
    shown: Annotated[int, Option(help="Number of images shown in each training.")] = 20_000
    precision: str = "float32"
    labels_per_class: str = "10,25,100"
    seeds: str = "0,1"
    run: Path = Path("runs/few_labels")
    output: Path = Path("few_labels.json")


def hide_labels(images, per_class, seed):
    """Keeps the labels of `per_class` random images of each class, and hides all others."""
    rows = np.random.default_rng([seed, per_class]).permutation(len(images))
    labels = np.full_like(images.labels, -1)
    for label in np.unique(images.labels[images.labels >= 0]):
        labels[rows[images.labels[rows] == label][:per_class]] = label
    return replace(images, labels=labels)


def with_repeats(labeled, others, share):
    """Repeats the labeled images until they are a given fraction of all images."""
    wanted = round(len(others) * share / (1 - share))
    return np.concatenate([np.resize(labeled, max(len(labeled), wanted)), others])


def given(kind, options, seed):
    """Returns the options that all training runs of a kind of model have in common."""
    how = {"seed": seed, "precision": options.precision}
    if kind == "baseline":
        return how | {"horizontal_flip": source_of(options.data).may_be_mirrored}
    how |= {"learning_rate_schedule": "cosine", "likelihood_epochs": 0, "sample_every": 0}
    how |= {name: getattr(options, name) for name in OF_PIXELCNNPP}
    if options.preset is None and options.data in preset_names():
        how["preset"] = options.data
    return how


def train(way, options, labels_per_class, seed):
    """Trains a model in one of the four ways; returns it with the images to measure on."""
    kind = "pixelcnnpp" if way.startswith("pixelcnnpp") else "baseline"
    run = RunFolder(options.run / f"{way}-{labels_per_class}-{seed}")
    dataset = load_dataset(options.data, image_size=options.image_size)
    images = dataset.split("train").some(options.max_examples, seed)
    images = hide_labels(images, labels_per_class, seed)
    labeled = np.random.default_rng(seed).permutation(np.flatnonzero(images.labels >= 0))
    others = np.flatnonzero(images.labels < 0)
    how = given(kind, options, seed) | {"data": run.path / "data.npz", "run": run.path}

    def fit(rows, labels, **more):
        # A single long epoch; many short ones would mostly write checkpoints.
        shown = np.resize(np.random.default_rng(seed).permutation(rows), options.shown)
        write_dataset(how["data"], dataset, replace(images, labels=labels).take(shown))
        pixelcnnpp(COMMANDS[kind], overwrite=True, epochs=1, **how, **more)
        return keras.saving.load_model(run.model(kind))

    if way == "pixelcnnpp_all":
        more = {"batch_size": options.batch_size, "unlabeled_weight": 1}
        model = fit(with_repeats(labeled, others, options.labeled_fraction), images.labels, **more)
    elif way == "pixelcnnpp":
        model = fit(labeled, images.labels, batch_size=SMALL_BATCH)
    else:
        model = fit(labeled, images.labels)
    for share in SUREST if way == "cnn_pseudo_labels" else ():
        guessed = model.class_probabilities(images.images[others])
        confident = np.argsort(-guessed.max(axis=1))[: round(share * len(others))]
        labels = images.labels.copy()
        labels[others[confident]] = guessed[confident].argmax(axis=1)
        # True labels are repeated as often as for PixelCNN++.
        model = fit(with_repeats(labeled, others[confident], options.labeled_fraction), labels)
    return model, dataset.images(options.split, with_labels=True)


def main(options):
    """Measure the accuracy with few labels, with and without unlabeled images."""
    told = ("labels_per_class", "seeds", "run", "output")
    asked = {name: value for name, value in vars(options).items() if name not in told}
    asked["data"] = source_of(options.data).name  # its folder does not matter
    rows = []
    if options.output.exists():
        known = read_json(options.output)
        if known["options"] != asked:
            raise SystemExit(f"{options.output} has results with other options. Use another file")
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
        rows.append({**trial, "accuracy": accuracy, "minutes": round(seconds / 60, 2)})
        report = {"options": asked, "count": len(unseen), "machine": machine(), "rows": rows}
        save(report, options.output)
    table = [
        {"": title} | {str(n): over_seeds(rows, way=way, labels_per_class=n) for n in numbers}
        for way, title in WAYS.items()
    ]
    show(table)


if __name__ == "__main__":
    typer.run(with_options(Options)(main))
