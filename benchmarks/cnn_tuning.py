"""Trials of the CNN's training, to compare PixelCNN++ with a tuned opponent.

    python benchmarks/cnn_tuning.py --data digits --epochs 15
    python benchmarks/cnn_tuning.py --data digits --epochs 15 --cutmix 1 --label-smoothing 0

Each command trains the CNN once, on a part of the training split, and measures it on the rest of
that split. It adds a row to `benchmarks/results/cnn_tuning-NAME.json`. The splits `validation` and
`test` are not used. Minutes are of processor time.
"""

import shlex
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import keras
import numpy as np
import typer
from common import RESULTS, show
from typer import Option

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.command_helpers import with_options
from keras_pixelcnnpp.evaluate.metrics import classifiers as metrics
from keras_pixelcnnpp.files import read_json, write_json
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.recipe import NOT_MIRRORED, BaselineRecipe, numbers, words_of
from keras_pixelcnnpp.train.data import load_larger, load_training_data
from keras_pixelcnnpp.training import train


@dataclass(frozen=True, kw_only=True)
class Trial(BaselineRecipe):
    """The recipe of `pixelcnnpp train-baseline`, with the defaults from before the tuning."""

    DEFAULTS: ClassVar[dict] = {
        **BaselineRecipe.DEFAULTS,
        "learning_rate": 2e-3,
        "precision": "mixed_bfloat16",
    }

    optimizer: Literal["adam", "muon"] = "adam"

    def of_optimizer(self, steps):
        return super().of_optimizer(steps) | {"optimizer": self.optimizer}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The other options, also with the defaults from before the tuning."""

    held_out: Annotated[float, Option(help="Share of the training split to measure on.")] = 1 / 6
    filters: Annotated[str, Option(help="Of the first stage, or of each.", callback=numbers)] = 32
    num_blocks: int = 3
    dropout_rate: float = 0.1
    label_smoothing: float = 0.05
    shift_rate: float = 0.125
    cutmix: Annotated[float, Option(help="Parameter of the beta distribution; 0 for none.")] = 0.0
    mixed: Annotated[float, Option(help="Share of the batches that are mixed.")] = 1.0


class Mixed(keras.utils.PyDataset):
    """Batches with one-hot labels, some of them mixed by CutMix (Yun et al. 2019)."""

    def __init__(self, batches, num_classes, options, seed):
        super().__init__(workers=1)
        self.batches, self.num_classes = batches, num_classes
        self.mixed = options.mixed if options.cutmix else 0
        self.rng = np.random.default_rng(seed)
        self.cutmix = keras.layers.CutMix(options.cutmix or 1.0, seed=seed)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        images, labels = self.batches[index]
        labels = np.eye(self.num_classes, dtype="float32")[labels]
        if self.rng.random() >= self.mixed:
            return images, labels
        data = {"images": images.astype("float32"), "labels": labels}
        mixed = self.cutmix(data, training=True)
        images, labels = (keras.ops.convert_to_numpy(mixed[key]) for key in ("images", "labels"))
        return np.rint(images).astype("uint8"), labels


def trained(options, recipe, dataset):
    """Trains on a part of the training split; returns the model and the part held out."""
    keras.utils.set_random_seed(recipe.seed)
    fitted, held_out = dataset.split("train").labeled().hold_out(options.held_out, seed=0)
    with backend.precision(recipe.precision):
        model = BaselineCNN(
            dataset.image_shape,
            dataset.num_classes,
            filters=options.filters,
            num_blocks=options.num_blocks,
            dropout_rate=options.dropout_rate,
            shift_rate=options.shift_rate,
        )
    train(
        model,
        fitted.some(recipe.max_examples),
        recipe,
        wrap=lambda batches: Mixed(batches, dataset.num_classes, options, recipe.seed),
        verbose=2,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=options.label_smoothing),
        metrics=["accuracy"],
    )
    return model, held_out


def main(options, given):
    """Train and measure the CNN once, and add the result to those before."""
    name = Path(given.data).stem
    recipe = given.over(Trial(horizontal_flip=name not in NOT_MIRRORED)).with_defaults()
    dataset, recipe = load_larger(given, recipe, load_training_data(recipe))
    start = time.process_time()
    model, held_out = trained(options, recipe, dataset)
    minutes = (time.process_time() - start) / 60
    probabilities = model.class_probabilities(held_out.images)
    scaled, _ = metrics.cross_fitted_temperature(held_out.labels, probabilities)
    usual = {field.name: field.default for field in fields(options)}
    changed = {key: value for key, value in vars(options).items() if str(value) != str(usual[key])}
    used = {key: value for key, value in given.values().items() if key not in ("data", "optimizer")}
    used |= {"optimizer": given.optimizer} if given.optimizer != "adam" else {}
    row = {
        "options": shlex.join(words_of(used | changed)),
        "epochs": recipe.epochs,
        "parameters": model.count_params(),
        "minutes": round(minutes, 2),
        **metrics.classification_metrics(held_out.labels, probabilities),
        "scaled_log_loss": metrics.mean_log_loss(held_out.labels, scaled),
    }
    path = RESULTS / f"cnn_tuning-{name}.json"
    rows = read_json(path)["rows"] if path.exists() else []
    found = {"data": name, "count": len(held_out), "machine": backend.machine()}
    write_json(path, found | {"rows": [*rows, row]})
    show([{key: value for key, value in row.items() if key not in ("options", "accuracy_ci95")}])


if __name__ == "__main__":
    typer.run(with_options(Options, Trial)(main))
