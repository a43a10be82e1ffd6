"""Options and steps that the training commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from keras_pixelcnnpp.errors import UserError


class Precision(StrEnum):
    """Keras's dtype policies."""

    float32 = "float32"
    mixed_bfloat16 = "mixed_bfloat16"
    mixed_float16 = "mixed_float16"


class Schedule(StrEnum):
    """How the learning rate falls."""

    exponential = "exponential"
    cosine = "cosine"


Data = Annotated[
    str,
    typer.Option(
        help="digits, cifar10, a folder with train.csv, a folder of class folders, or an .npz."
    ),
]


Run = Annotated[Path, typer.Option(help="The run folder, such as runs/digits.")]


Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training pictures.")]


Preset = Annotated[
    str | None,
    typer.Option(
        help="Where defaults come from: digits, report, cifar10, cpen455, or a folder. "
        "Default: digits for digits, else report."
    ),
]


BatchSize = Annotated[int | None, typer.Option(min=1, help="Pictures per step.")]


LearningRate = Annotated[float | None, typer.Option(min=0, help="Adam's, at the beginning.")]


EmaMomentum = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Momentum of the moving average of the weights, to which it rises; 0: none.",
    ),
]


GradientClipNorm = Annotated[
    float | None,
    typer.Option(
        min=0, help="A longer gradient is scaled down to this norm; 0, the default: never."
    ),
]


Seed = Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")]


ImageSize = Annotated[
    int | None, typer.Option(min=1, help="Resize pictures to this height and width.")
]


PrecisionOption = Annotated[Precision, typer.Option("--precision", help="Of the computations.")]


JitCompile = Annotated[
    bool | None,
    typer.Option(help="Compile with XLA. Default: what suits backend and device."),
]


HorizontalFlip = Annotated[bool | None, typer.Option(help="Mirror half of the training pictures.")]


Limit = Annotated[
    int | None, typer.Option(min=1, help="Train on the first pictures only, for a trial.")
]


Devices = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Devices of this machine that share every batch (TensorFlow, JAX). Default: one.",
    ),
]


Workers = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT of each process that shares every batch, with commas between; the same "
        "command runs on each, with its own --worker. JAX only. All must see the run folder; the "
        "first writes it. Default: the environment variable TF_CONFIG, else none."
    ),
]


Worker = Annotated[
    int | None, typer.Option(min=0, help="This process's place in --workers, from 0.")
]


Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]


Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start over in a folder that holds a run.")
]


def per_resolution(option: str, text: str | None) -> int | list[int] | None:
    """`"40"` gives 40, `"24,48,96"` a number for each resolution."""
    from keras_pixelcnnpp.errors import UserError

    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"Invalid value for option `{option}`. Expected a positive integer, or one for each "
            f"resolution with commas between. Received: {text!r}"
        ) from None
    return numbers if len(numbers) > 1 else numbers[0]


TRAINING_DEFAULTS = {
    "epochs": 100,
    "batch_size": 16,
    "learning_rate": 2e-4,
    "learning_rate_schedule": "exponential",
    "learning_rate_decay": 1.0,
    "learning_rate_warmup": None,
    "ema_momentum": 0.0,
    "gradient_clip_norm": 0.0,
    "candidates": None,
    "warmup_epochs": 0,
    "horizontal_flip": False,
    "crop_margin": 0,
    "initial_weights": None,
    "precision": "float32",
    "jit_compile": None,
    "sample_every": None,
    "histogram_every": 0,
    "frechet_every": 0,
    "seed": 0,
    "limit": None,
}


GIVEN_BY_DATA = ("image_shape", "num_classes", "num_levels")


def resolve_options(preset: dict, overrides: dict, num_classes: int) -> tuple[dict, dict]:
    """A preset's values, overridden by what the user gave.

    Args:
        preset: `{"model": {...}, "training": {...}}`, as `load_preset_config` returns it.
        overrides: Options by name; `None` means "as the preset has it".
        num_classes: The number of classes of the data.

    Returns:
        The arguments of `PixelCNNPlusPlus` (without those that the data gives) and the training
        options.

    Raises:
        UserError: if options contradict each other.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    training = {**TRAINING_DEFAULTS, **preset["training"]}
    training = {name: given.pop(name, value) for name, value in training.items()}
    model = {**preset["model"], **given}
    model = {name: value for name, value in model.items() if name not in GIVEN_BY_DATA}
    if model.get("conditioning") == "none":
        num_classes = 0
    if training["candidates"] is None:
        training["candidates"] = num_classes if model.get("label_loss_weight") else 1
    _check(model, training, num_classes)
    return model, training


def _check(model: dict, training: dict, num_classes: int) -> None:
    candidates = training["candidates"]
    if model.get("label_loss_weight") and num_classes < 2:
        raise UserError(
            "Invalid value for option `label_loss_weight`. Without labels (conditioning none) it "
            f"must be 0. Received: label_loss_weight={model['label_loss_weight']}"
        )
    if not 1 <= candidates <= max(num_classes, 1):
        raise UserError(
            "Invalid value for option `candidates`. Expected an integer from 1 to the number of "
            f"classes, {num_classes}. Received: candidates={candidates}"
        )
    if model.get("label_loss_weight") and candidates < 2:
        raise UserError(
            "Invalid value for option `candidates`. A label_loss_weight above 0 needs at least 2. "
            f"Received: candidates={candidates}"
        )
