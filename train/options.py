"""Every option of the training commands, declared once; and the merge with a preset."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Option

from keras_pixelcnnpp.errors import UserError

Precision = Literal["float32", "tf32", "mixed_bfloat16", "mixed_float16"]
Epochs = Annotated[int | None, Option(help="Number of passes over the training images.", min=1)]
BatchSize = Annotated[int | None, Option(help="Number of images per step.", min=1)]
LearningRate = Annotated[float | None, Option(help="Peak learning rate.", min=0)]
EmaMomentum = Annotated[
    float | None,
    Option(
        help="Momentum of the averaged weights, at most 1 - 10/steps; 0 for no average.",
        min=0,
        max=1,
    ),
]


def numbers(text: str | None) -> int | list[int] | None:
    """`"40"` gives 40, `"24,48,96"` a number for each resolution."""
    if text is None:
        return None
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            "Expected a positive integer, or one for each resolution with commas between. "
            f"Received: {text!r}"
        ) from None
    return values if len(values) > 1 else values[0]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What both commands take."""

    data: Annotated[
        str | None,
        Option(
            help="The images: digits, mnist, fashion_mnist, cifar10, an .npz file, a folder with "
            "a CSV file, or a folder of class folders or images. With --resume: those of the run."
        ),
    ] = None
    run: Annotated[Path, Option(help="Folder of the run, such as runs/digits.")]
    resume: Annotated[
        bool,
        Option("--resume", help="Continue from the last checkpoint, with the options of the run."),
    ] = False
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace the run in the folder, and what was made of it.")
    ] = False
    image_size: Annotated[
        int | None,
        Option(
            help="Height and width in pixels to resize images to. Default: 32 for a folder, else "
            "their own.",
            min=1,
        ),
    ] = None
    channels: Annotated[
        int | None,
        Option(help="1 for gray, 3 for RGB. Default: 3 for a folder, else their own."),
    ] = None
    resize: Annotated[
        Literal["center_crop", "stretch"] | None,
        Option(help="How to fit images of another aspect ratio. Default: center_crop."),
    ] = None
    skip_corrupted: Annotated[
        bool | None,
        Option("--skip-corrupted", help="Leave out image files that cannot be read."),
    ] = None
    white_level: Annotated[
        int | None,
        Option(
            help="The value that becomes white in gray image files of 16 bits, such as 4095 for 12 "
            "bits. Default: 65535.",
            min=1,
        ),
    ] = None
    max_examples: Annotated[
        int | None,
        Option(
            help="Number of training images, chosen at random, those without a label included. "
            "Default: all.",
            min=1,
        ),
    ] = None
    epochs: Epochs = None
    batch_size: BatchSize = None
    learning_rate: LearningRate = None
    ema_momentum: EmaMomentum = None
    gradient_clip_norm: Annotated[
        float | None,
        Option(help="Norm to which larger gradients are scaled down; 0 for no clipping.", min=0),
    ] = None
    horizontal_flip: Annotated[bool | None, Option(help="Mirror training images at random.")] = None
    crop_margin: Annotated[
        int | None,
        Option(
            help="Read image files this many pixels larger, and train on a random crop of them "
            "half of the time.",
            min=0,
        ),
    ] = None
    precision: Annotated[
        Precision | None, Option(help="Precision of the computations. Default: float32.")
    ] = None
    jit_compile: Annotated[
        bool | None,
        Option(help="Compile, by XLA or torch. Default: JAX does, and TensorFlow on a GPU."),
    ] = None
    seed: Annotated[
        int | None,
        Option(help="The same seed gives the same training. Default: 0.", min=0, max=2**32 - 1),
    ] = None
    max_validation_examples: Annotated[
        int | None,
        Option(
            help="Number of validation images to measure on after each epoch; 0 for all. Default: "
            "as many as take no longer than the epoch.",
            min=0,
        ),
    ] = None
    plugin: Annotated[
        list[str] | None,
        Option(help="A module to import first, such as one with a strategy; may be repeated."),
    ] = None
    callback: Annotated[
        list[str] | None,
        Option(
            help="MODULE:OBJECT, a Keras callback or a function that returns one; may be repeated."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PixelCNNOptions(Options):
    """What `train` takes. `None`: as the preset has it, else `TRAINING_DEFAULTS`."""

    preset: Annotated[
        str | None,
        Option(
            help="Where defaults come from: a name that pixelcnnpp presets lists, a folder or "
            "hf://USER/NAME. Default: that of --network, else of the data (digits, mnist, "
            "fashion_mnist), else photographs."
        ),
    ] = None
    network: Annotated[
        Literal["pixelcnnpp", "gated_pixelcnn", "pixelcnn"] | None,
        Option(help="Network of the model."),
    ] = None
    head: Annotated[
        Literal["logistic_mixture", "categorical"] | None,
        Option(help="Distribution of a pixel."),
    ] = None
    num_levels: Annotated[
        int | None,
        Option(
            help="Number of values of a sub-pixel; images are quantized to them.", min=2, max=256
        ),
    ] = None
    filters: Annotated[
        str | None,
        Option(help="Number of filters, or one for each resolution: 24,48,96.", callback=numbers),
    ] = None
    num_blocks: Annotated[
        str | None,
        Option(
            help="Number of blocks at each resolution, or one for each: 2,1,1.", callback=numbers
        ),
    ] = None
    num_resolutions: Annotated[
        int | None,
        Option(help="Number of resolutions; each but the first halves height and width."),
    ] = None
    num_mixtures: Annotated[int | None, Option(help="Number of logistic components.")] = None
    dropout_rate: Annotated[float | None, Option(help="Dropout rate, in [0, 1).")] = None
    conditioning: Annotated[
        str | None,
        Option(help="How labels enter: none, bias, film and so on, or several, as in bias+film."),
    ] = None
    conditioned_blocks: Annotated[
        str | None, Option(help="Blocks that see the label: all, up, or up_horizontal (fastest).")
    ] = None
    label_loss_weight: Annotated[
        float | None,
        Option(help="Weight of the cross-entropy (nats) over the candidate labels.", min=0),
    ] = None
    num_candidates: Annotated[
        int | None,
        Option(help="Number of labels compared for each image, at most one per class.", min=2),
    ] = None
    unlabeled_weight: Annotated[
        float | None, Option(help="Weight of images without a label; 0 leaves them out.", min=0)
    ] = None
    initial_logit_scale: Annotated[
        float | None, Option(help="Initial factor on the log-likelihoods in the posterior.", min=0)
    ] = None
    learn_logit_scale: Annotated[bool | None, Option(help="Learn the logit scale.")] = None
    learn_class_bias: Annotated[bool | None, Option(help="Learn a bias for each class.")] = None
    initial_weights: Annotated[
        str | None,
        Option(
            help="Weights to start from: a preset, a run folder or a .keras file. Default: random."
        ),
    ] = None
    optimizer: Annotated[
        Literal["adam", "muon"] | None,
        Option(help="muon: Muon for the kernels of the convolutions, Adam for all other weights."),
    ] = None
    likelihood_epochs: Annotated[
        int | None,
        Option(
            help="Number of first epochs on the likelihood alone. Default: the preset's share of "
            "all; 0 with --unlabeled-weight.",
            min=0,
        ),
    ] = None
    learning_rate_schedule: Annotated[
        Literal["exponential", "cosine"] | None,
        Option(
            help="exponential: a factor per step. cosine: down to a hundredth at the last step."
        ),
    ] = None
    learning_rate_decay: Annotated[
        float | None,
        Option(help="Factor per step of the exponential schedule, which it selects.", min=0, max=1),
    ] = None
    learning_rate_warmup: Annotated[
        int | None,
        Option(
            help="Number of steps over which the rate rises, at the start and after "
            "--likelihood-epochs; at most a tenth of all.",
            min=1,
        ),
    ] = None
    sample_every: Annotated[
        int | None,
        Option(help="Epochs between grids of samples in TensorBoard; 0 for none.", min=0),
    ] = None
    devices: Annotated[
        int | None,
        Option(
            help="Number of devices that share every batch (TensorFlow, JAX). Default: one; of "
            "several processes (JAX), all.",
            min=1,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class BaselineOptions(Options):
    """What `train-baseline` takes. `None`: as `BASELINE_DEFAULTS` has it; there is no preset."""

    weight_decay: Annotated[float | None, Option(help="Weight decay of the kernels.", min=0)] = None


BASELINE_DEFAULTS = {
    "epochs": 25,
    "batch_size": 64,
    "learning_rate": 2e-2,
    "ema_momentum": 0.99,
    "weight_decay": 0.02,
    "precision": "float32",
    "seed": 0,
}
# Training options of `train`, where neither user nor preset gives one; `None`: none.
TRAINING_DEFAULTS = {
    "max_examples": None,
    "epochs": 100,
    "batch_size": 16,
    "optimizer": "adam",
    "learning_rate": 2e-4,
    "learning_rate_schedule": "exponential",
    "learning_rate_decay": 1.0,
    "learning_rate_warmup": None,
    "ema_momentum": 0.0,
    "gradient_clip_norm": 0.0,
    "horizontal_flip": False,
    "crop_margin": 0,
    "likelihood_epochs": 0,
    "initial_weights": None,
    "precision": "float32",
    "jit_compile": "auto",
    "seed": 0,
    "max_validation_examples": None,
    "sample_every": 5,
}
MONITORING = ("max_validation_examples", "sample_every")
MAY_CHANGE = ("epochs", "gradient_clip_norm", "jit_compile", *MONITORING)  # when a run is resumed
# Of a run's data, or about how the command goes; all others are the model's or its training's.
_NEITHER = (
    *("data", "image_size", "channels", "resize", "skip_corrupted", "white_level"),
    *("run", "resume", "overwrite", "plugin", "callback", "preset", "devices"),
)
CROP_MARGIN = 4  # of the CNN, where the images are files
# A mirrored digit is no digit; most photographs may be mirrored.
NOT_MIRRORED = ("digits", "mnist")
_GIVEN_BY_DATA = ("image_shape", "num_classes", "class_names")


def with_options(declaration: type) -> Callable:
    """A decorator: the command has the options of a dataclass, and is called with one."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def command(**values: Any) -> None:
            return function(declaration(**values))

        command.__signature__ = inspect.signature(declaration)
        return command

    return decorate


def overrides(options: Options) -> dict:
    """The options of model and training by name; `None`: as the preset has it."""
    return {name: v for name, v in vars(options).items() if name not in _NEITHER}


def baseline_training(options: BaselineOptions) -> dict:
    """The training options of the CNN by name."""
    given = {name: value for name, value in overrides(options).items() if value is not None}
    return {**overrides(options), **BASELINE_DEFAULTS, **given}


def as_begun(options: Options, config: dict, section: str) -> Options:
    """The options of a training to be resumed: where none is given, that of the run.

    `config` is the content of its `config.json`.
    """
    data = config["data"]
    height, width, _ = data["image_shape"]
    known = {**data, "data": data["source"], "image_size": height if height == width else None}
    known |= config.get(section, {"options": {}})["options"]
    missing = {name: known.get(name) for name, value in vars(options).items() if value is None}
    return replace(options, **missing)


def recipe_of_run(config: dict) -> dict:
    """The recipe that a run's model is trained by, in the form of `load_preset`."""
    begun = config["pixelcnnpp"]["options"]
    training = {name: begun[name] for name in TRAINING_DEFAULTS if name in begun}
    model = {name: value for name, value in begun.items() if name not in training}
    return {"network": begun.get("network"), "model": model, "training": training}


def resolve_options(
    preset: dict, overrides: dict, num_classes: int, from_files: bool = True
) -> tuple[dict, dict]:
    """A preset's values, overridden by what the user gave, and fitted to the data.

    A preset was made for other data: where its weight of the cross-entropy, its candidates or its
    crops (which need images in files) have no meaning for these, they give way. What the user gave
    is refused instead. Of another number of epochs as large a share is on the likelihood alone, and
    none where images without a label teach too. Returns the arguments of the model, without those
    that the data gives, and the training options.
    """
    from keras_pixelcnnpp.presets import likelihood_epochs  # imports Keras

    given = {name: value for name, value in overrides.items() if value is not None}
    training = {**TRAINING_DEFAULTS, **preset["training"]}
    if "learning_rate_decay" in given:
        given.setdefault("learning_rate_schedule", "exponential")
    if "epochs" in given:
        training["likelihood_epochs"] = likelihood_epochs(training, given["epochs"])
    training = {name: given.pop(name, value) for name, value in training.items()}
    network = preset.get("network", "pixelcnnpp")
    model = {**preset["model"], "network": network, **given}
    model = {name: value for name, value in model.items() if name not in _GIVEN_BY_DATA}
    if model.get("unlabeled_weight"):
        training["likelihood_epochs"] = overrides.get("likelihood_epochs") or 0
        if "num_candidates" not in given:
            model["num_candidates"] = None
    if num_classes < 2 and "conditioning" not in given:
        model["conditioning"] = "none"  # there is nothing to compare
    if model.get("conditioning") == "none":
        num_classes = 0
    if num_classes < 2 and model.get("label_loss_weight") and "label_loss_weight" not in given:
        model["label_loss_weight"] = 0.0
    if not from_files and overrides.get("crop_margin") is None:
        training["crop_margin"] = 0
    _check(model, num_classes)
    return model, training


def _check(model: dict, num_classes: int) -> None:
    refused = {}
    if model["network"] != "pixelcnnpp":
        why = f"{model['network']} has one resolution, and all its blocks see the label."
        refused |= {"num_resolutions": why, "conditioned_blocks": why}
    if num_classes < 2:
        why = "With conditioning none or fewer than two classes it must be 0."
        refused |= {"label_loss_weight": why, "unlabeled_weight": why}
        refused["conditioning"] = "With fewer than two classes it must be none."
    for name, why in refused.items():
        if (value := model.get(name)) and value != "none":
            raise UserError(f"Invalid value for option `{name}`. {why} Received: {name}={value}")
