"""Trials of the CNN's training, to compare PixelCNN++ with a tuned opponent.

    python benchmarks/cnn_tuning.py --data digits --epochs 15
    python benchmarks/cnn_tuning.py --data digits --epochs 15 --cutmix 1 --label-smoothing 0

Each command trains the CNN once, on a part of the training split, and measures it on the rest of
that split. It adds a row to `benchmarks/results/cnn_tuning-NAME.json`. The splits `validation` and
`test` are not used. Minutes are of processor time.
"""

import shlex
import time
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Annotated, Literal

import keras
import numpy as np
import typer
from common import RESULTS, show, words_of
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.model_selection import KFold
from typer import Option

from keras_pixelcnnpp.commands.helpers import with_options
from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.data.load import source_of
from keras_pixelcnnpp.evaluate.metrics import classifiers as metrics
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.recipes.recipe import BaselineRecipe, numbers
from keras_pixelcnnpp.train.data import load_larger, load_training_data
from keras_pixelcnnpp.training.optimizers import make_optimizer
from keras_pixelcnnpp.training.train import fit_epochs
from keras_pixelcnnpp.utils import backend
from keras_pixelcnnpp.utils.files import read_json, write_json

# The defaults are those from before the tuning.
DEFAULTS = {**BaselineRecipe.DEFAULTS, "learning_rate": 2e-3, "precision": "mixed_bfloat16"}
# Options of `pixelcnnpp train-baseline` that a trial uses.
USED = (
    *("data", "image_size", "channels", "resize", "skip_corrupted", "white_level", "split_seed"),
    *("max_examples", "epochs", "batch_size", "learning_rate", "ema_momentum", "weight_decay"),
    *("gradient_clip_norm", "horizontal_flip", "crop_margin", "precision", "jit_compile", "seed"),
)
Given = make_dataclass(
    "Given",
    [
        (one.name, one.type, field(default=one.default, metadata=one.metadata))
        for one in fields(BaselineRecipe)
        if one.name in USED
    ],
    kw_only=True,
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The other options."""

    optimizer: Literal["adam", "muon"] = "adam"
    held_out: Annotated[float, Option(help="Share of the training split to measure on.")] = 1 / 6
    filters: Annotated[str, Option(help="Of the first stage, or of each.", callback=numbers)] = 32
    num_blocks: int = 3
    dropout_rate: float = 0.1
    label_smoothing: float = 0.05
    shift_rate: float = 0.125
    cutmix: Annotated[float, Option(help="Parameter of the beta distribution; 0 for none.")] = 0.0
    mixed: Annotated[float, Option(help="Share of the batches that are mixed.")] = 1.0


class Mixed(ImageBatches):
    """Batches with one-hot labels, some of them mixed by CutMix (Yun et al. 2019)."""

    def __init__(self, images, num_classes, options, recipe):
        how = {"seed": recipe.seed, "horizontal_flip": recipe.horizontal_flip}
        how |= {"batch_size": recipe.batch_size, "larger_images": images.larger}
        super().__init__(images.images, images.labels, **how)
        self.workers = 1  # because the random numbers below depend on the order of the calls
        self.num_classes = num_classes
        self.mixed = options.mixed if options.cutmix else 0
        self.rng = np.random.default_rng(recipe.seed)
        self.cutmix = keras.layers.CutMix(options.cutmix or 1.0, seed=recipe.seed)

    def __getitem__(self, index):
        images, labels = super().__getitem__(index)
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
    batches = Mixed(fitted.some(recipe.max_examples), dataset.num_classes, options, recipe)
    steps = recipe.epochs * len(batches)
    chosen = recipe.of_optimizer(steps) | {"optimizer": options.optimizer}
    model.compile(
        make_optimizer(chosen, steps, weight_decay=recipe.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=options.label_smoothing),
        metrics=["accuracy"],
        jit_compile="auto" if recipe.jit_compile is None else recipe.jit_compile,
    )
    with backend.tensor_float32(recipe.precision == "tf32"):
        fit_epochs(model, batches, recipe.epochs, verbose=2)
    return model, held_out


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray, smoothing: float = 0.0) -> float:
    """Returns the temperature that minimizes the log loss (Guo et al. 2017).

    A temperature above 1 means that the classifier is overconfident. `smoothing`, in [0, 1), is the
    weight of the most probable wrong class of each image. Without smoothing, the temperature is
    near its lower bound if all images are classified correctly.
    """
    logits, rows = metrics._log(probabilities), np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    runners_up = others.argmax(axis=1)

    def mean_loss(log_logit_scale: float) -> float:
        tempered = log_softmax(logits / np.exp(log_logit_scale), axis=1)
        own, other = tempered[rows, labels], tempered[rows, runners_up]
        return -np.mean((1 - smoothing) * own + smoothing * other)

    # The loss is convex in 1 / temperature, so it has a single minimum. Likelihoods of thousands of
    # sub-pixels can require temperatures far above the usual ones.
    bounds = (np.log(1e-3), np.log(1e4))
    found = minimize_scalar(mean_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns `p ** (1 / temperature)`, normalized, in float64."""
    return softmax(metrics._log(probabilities) / temperature, axis=1)


def cross_fitted_temperature(
    labels: np.ndarray, probabilities: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, list[float]]:
    """Scales each half of the images with the temperature fitted to the other half.

    Returns the scaled probabilities, float64 `[count, classes]`, and the two temperatures. No image
    is scaled with a temperature that was fitted to its own label.
    """
    scaled, temperatures = np.empty(probabilities.shape), []
    halves = KFold(2, shuffle=True, random_state=seed)
    for fitted, rest in halves.split(probabilities):
        # Smoothing as in Platt 1999, section 2.2: a half may happen to have no mistakes.
        smoothing = 1 / (len(fitted) + 2)
        temperatures.append(fit_temperature(labels[fitted], probabilities[fitted], smoothing))
        scaled[rest] = apply_temperature(probabilities[rest], temperatures[-1])
    return scaled, temperatures


def main(options, given):
    """Train and measure the CNN once, and add the result to those before."""
    source, given = source_of(given.data), BaselineRecipe(**vars(given))
    usual = BaselineRecipe(**{**DEFAULTS, "horizontal_flip": source.may_be_mirrored})
    recipe = given.over(usual)
    dataset, recipe = load_larger(given, recipe, load_training_data(recipe))
    start = time.process_time()
    model, held_out = trained(options, recipe, dataset)
    minutes = (time.process_time() - start) / 60
    probabilities = model.class_probabilities(held_out.images)
    scaled, _ = cross_fitted_temperature(held_out.labels, probabilities)
    usual = {field.name: field.default for field in fields(options)}
    changed = {key: value for key, value in vars(options).items() if str(value) != str(usual[key])}
    used = {key: value for key, value in given.values().items() if key != "data"}
    row = {
        "options": shlex.join(words_of(used | changed)),
        "epochs": recipe.epochs,
        "parameters": model.count_params(),
        "minutes": round(minutes, 2),
        **metrics.classification_metrics(held_out.labels, probabilities),
        "scaled_log_loss": metrics.mean_log_loss(held_out.labels, scaled),
    }
    path = RESULTS / f"cnn_tuning-{source.name}.json"
    rows = read_json(path)["rows"] if path.exists() else []
    found = {"data": source.name, "count": len(held_out), "machine": backend.machine()}
    write_json(path, found | {"rows": [*rows, row]})
    show([{key: value for key, value in row.items() if key not in ("options", "accuracy_ci95")}])


if __name__ == "__main__":
    typer.run(with_options(Options, Given)(main))
