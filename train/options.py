"""Options of the training commands, and how they are merged with a preset."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import typer

from keras_pixelcnnpp.command import option
from keras_pixelcnnpp.errors import UserError

Precision = Literal["float32", "tf32", "mixed_bfloat16", "mixed_float16"]


def numbers(text: str | None) -> int | list[int] | None:
    """Parses an integer, `"40"`, or a list with one integer per resolution, `"24,48,96"`."""
    if text is None:
        return None
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            "Expected a positive integer, or one for each resolution, separated by commas. "
            f"Received: {text!r}"
        ) from None
    return values if len(values) > 1 else values[0]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of both commands."""

    data: str | None = option(
        "Images: digits, mnist, fashion_mnist, cifar10, an .npz file, a folder with a CSV file, or "
        "a folder of class folders or images. Default with --resume: those of the run."
    )
    run: Path = option("Run folder, such as runs/digits.", ...)
    resume: bool = option("Continue from the last checkpoint, with the options of the run.", False)
    overwrite: bool = option("Replace the run in the folder, including its reports.", False)
    image_size: int | None = option(
        "Height and width to resize images to, in pixels. Default: 32 for a folder, otherwise "
        "unchanged.",
        min=1,
    )
    channels: int | None = option(
        "1 for gray, 3 for RGB. Default: 3 for a folder, otherwise unchanged."
    )
    resize: Literal["center_crop", "stretch"] | None = option(
        "How to resize images of another aspect ratio. Default: center_crop."
    )
    skip_corrupted: bool | None = option("Skip image files that cannot be read.")
    white_level: int | None = option(
        "Value of white in 16-bit gray image files, such as 4095 for 12-bit data. Default: 65535.",
        min=1,
    )
    max_examples: int | None = option(
        "Number of training images, labeled or not, to choose at random. Default: all.", min=1
    )
    epochs: int | None = option("Number of passes over the training images.", min=1)
    batch_size: int | None = option("Number of images per training step.", min=1)
    learning_rate: float | None = option("Peak learning rate.", min=0)
    ema_momentum: float | None = option(
        "Momentum of the weight average, capped at 1 - 10/steps; 0 for no averaging.", min=0, max=1
    )
    gradient_clip_norm: float | None = option(
        "Maximum norm of the gradient; 0 for no clipping.", min=0
    )
    horizontal_flip: bool | None = option("Randomly flip training images horizontally.")
    crop_margin: int | None = option(
        "Read image files this many pixels larger, and randomly crop them half of the time. All "
        "files must be large enough.",
        min=0,
    )
    precision: Precision | None = option("Floating-point precision. Default: float32.")
    jit_compile: bool | None = option(
        "Compile with XLA or torch. Default: on for JAX, and for TensorFlow on a GPU."
    )
    seed: int | None = option("Random number seed. Default: 0.", min=0, max=2**32 - 1)
    max_validation_examples: int | None = option(
        "Number of validation images to evaluate after each epoch; 0 for all. Default: limited so "
        "that the evaluation takes no longer than the epoch.",
        min=0,
    )
    plugin: list[str] | None = option(
        "Module to import first, such as one with a strategy. Can be repeated."
    )
    callback: list[str] | None = option(
        "Keras callback, or function that returns one, as MODULE:OBJECT. Can be repeated."
    )


@dataclass(frozen=True, kw_only=True)
class PixelCNNOptions(Options):
    """Options of `train`. `None` stands for the preset's value, else for `TRAINING_DEFAULTS`."""

    preset: str | None = option(
        "Preset with the defaults: a name from `pixelcnnpp presets`, a folder or hf://USER/NAME. "
        "Default: the preset of --network, else of the data (digits, mnist, fashion_mnist), else "
        "photographs."
    )
    network: Literal["pixelcnnpp", "gated_pixelcnn", "pixelcnn"] | None = option(
        "Network architecture."
    )
    head: Literal["logistic_mixture", "categorical"] | None = option(
        "Distribution that the network predicts for each pixel."
    )
    num_levels: int | None = option(
        "Number of levels to which the values of sub-pixels are quantized.", min=2, max=256
    )
    filters: str | None = option(
        "Number of filters, or one number per resolution: 24,48,96.", callback=numbers
    )
    num_blocks: str | None = option(
        "Number of blocks at each resolution, or one number per resolution: 2,1,1.",
        callback=numbers,
    )
    num_resolutions: int | None = option(
        "Number of resolutions; each has half the height and width of the previous."
    )
    num_mixtures: int | None = option("Number of components of the logistic mixture.")
    dropout_rate: float | None = option("Dropout rate, in [0, 1).")
    conditioning: str | None = option(
        "How the label conditions the network: none, bias, film, bias+film and so on."
    )
    conditioned_blocks: str | None = option(
        "Blocks conditioned on the label: all, up, or up_horizontal (fastest)."
    )
    label_loss_weight: float | None = option(
        "Weight of the cross-entropy of the class posterior, in nats.", min=0
    )
    num_candidates: int | None = option(
        "Number of candidate labels per image, at most the number of classes.", min=2
    )
    unlabeled_weight: float | None = option(
        "Weight of the loss of unlabeled images; 0 to leave them out.", min=0
    )
    initial_logit_scale: float | None = option(
        "Initial factor of the log-likelihoods in the class posterior.", min=0
    )
    learn_logit_scale: bool | None = option("Learn the logit scale.")
    learn_class_bias: bool | None = option("Learn a bias for each class.")
    initial_weights: str | None = option(
        "Weights to start from: a preset, a run folder or a .keras file. Default: random."
    )
    optimizer: Literal["adam", "muon"] | None = option(
        "adam, or muon: Muon for convolution kernels and Adam for all other weights."
    )
    likelihood_epochs: int | None = option(
        "Number of initial epochs without the cross-entropy. Default: the preset's fraction of "
        "--epochs; 0 with --unlabeled-weight.",
        min=0,
    )
    learning_rate_schedule: Literal["exponential", "cosine"] | None = option(
        "exponential: multiply by a factor per step. cosine: decay to 1 % of the peak."
    )
    learning_rate_decay: float | None = option(
        "Factor per step; selects the exponential schedule.", min=0, max=1
    )
    learning_rate_warmup: int | None = option(
        "Number of warmup steps, at the start and after --likelihood-epochs; at most a tenth of "
        "all steps.",
        min=1,
    )
    sample_every: int | None = option(
        "Number of epochs between sample grids in TensorBoard; 0 for none.", min=0
    )
    devices: int | None = option(
        "Number of devices that share each batch (TensorFlow, JAX). Default: 1, or all with "
        "several JAX processes.",
        min=1,
    )


@dataclass(frozen=True, kw_only=True)
class BaselineOptions(Options):
    """Options of `train-baseline`. `None` stands for the value in `BASELINE_DEFAULTS`."""

    weight_decay: float | None = option("Weight decay of the kernels.", min=0)


BASELINE_DEFAULTS = {
    "epochs": 25,
    "batch_size": 64,
    "learning_rate": 2e-2,
    "ema_momentum": 0.99,
    "weight_decay": 0.02,
    "precision": "float32",
    "seed": 0,
}
# Values of training options that neither the user nor the preset sets.
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
# Options that may differ when a run is resumed.
MAY_CHANGE = ("epochs", "gradient_clip_norm", "jit_compile", *MONITORING)
# Options of the data or of the command itself. All others belong to the model or its training.
_NEITHER = (
    *("data", "image_size", "channels", "resize", "skip_corrupted", "white_level"),
    *("run", "resume", "overwrite", "plugin", "callback", "preset", "devices"),
)
# Data, or files of these names, that are not flipped by default: a mirrored digit is no digit.
NOT_MIRRORED = ("digits", "mnist")
_GIVEN_BY_DATA = ("image_shape", "num_classes", "class_names")


def overrides(options: Options) -> dict:
    """Returns the model and training options by name; `None` stands for the preset's value."""
    return {name: v for name, v in vars(options).items() if name not in _NEITHER}


def baseline_training(options: BaselineOptions) -> dict:
    """Returns the training options of the CNN by name."""
    given = {name: value for name, value in overrides(options).items() if value is not None}
    return {**overrides(options), **BASELINE_DEFAULTS, **given}


def as_begun(options: Options, config: dict, section: str) -> Options:
    """Fills in missing options from the run that is resumed, whose `config.json` is `config`."""
    from keras_pixelcnnpp.run import data_options  # imports Keras

    begun = config.get(section, {"options": {}})
    known = {**data_options(config["data"]), **begun["options"]}
    known |= {name: begun.get(name) for name in ("plugin", "callback")}
    missing = {name: known.get(name) for name, value in vars(options).items() if value is None}
    return replace(options, **missing)


def resolve_options(
    preset: dict, overrides: dict, num_classes: int, from_files: bool = True
) -> tuple[dict, dict]:
    """Merges a preset with the user's options, and adapts it to the data.

    The preset's cross-entropy weight, candidates and crops (which need image files) are dropped if
    they do not apply to the data; if the user gave them, they are an error instead. The
    likelihood-only epochs keep their fraction of all epochs, and are left out if unlabeled images
    contribute to the loss. Returns the arguments of the model, without those that the data
    determines, and the training options.
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
        model["conditioning"] = "none"  # no classes to compare
    if model.get("conditioning") == "none":
        num_classes = 0
    if num_classes < 2 and model.get("label_loss_weight") and "label_loss_weight" not in given:
        model["label_loss_weight"] = 0.0
    if not from_files and overrides.get("crop_margin") is None:
        training["crop_margin"] = 0
    if num_classes < 2:
        _require_classes(model)
    return model, training


def _require_classes(model: dict) -> None:
    """Raises an error for options that would have no effect with fewer than two classes."""
    for name in ("conditioning", "label_loss_weight"):
        if (value := model.get(name)) and value != "none":
            raise UserError(
                f"Invalid value for option `{name}`. It needs at least two classes and a "
                f"--conditioning other than none. Received: {name}={value}"
            )
