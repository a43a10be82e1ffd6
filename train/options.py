"""Every option of the training commands, declared once; and the merge with a preset."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option
from typer.core import TyperCommand

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.presets import likelihood_epochs

Precision = Literal["float32", "tf32", "mixed_bfloat16", "mixed_float16"]
Epochs = Annotated[int | None, Option(help="Passes over the training images.", min=1)]
BatchSize = Annotated[int | None, Option(help="Images per step.", min=1)]
LearningRate = Annotated[float | None, Option(help="Adam's peak learning rate.", min=0)]
EmaMomentum = Annotated[
    float | None,
    Option(help="Momentum of the averaged weights, at most 1 - 10/steps; 0: none.", min=0, max=1),
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
        str,
        Option(
            help="digits, mnist, fashion_mnist, cifar10, an .npz, or a folder: with train.csv, or "
            "of class folders."
        ),
    ]
    run: Annotated[Path, Option(help="The run folder, such as runs/digits.")]
    resume: Annotated[bool, Option("--resume", help="Go on from the last checkpoint.")] = False
    overwrite: Annotated[
        bool, Option("--overwrite", help="Start over in a folder that holds a run.")
    ] = False
    image_size: Annotated[
        int | None, Option(help="Height and width to resize to; of folders 32 unless given.", min=1)
    ] = None
    resize: Annotated[
        Literal["center_crop", "stretch"],
        Option(help="What becomes of images of another aspect ratio."),
    ] = "center_crop"
    skip_corrupted: Annotated[
        bool,
        Option("--skip-corrupted", help="Go on without the image files that cannot be read."),
    ] = False
    max_examples: Annotated[
        int | None, Option(help="Train on so many images, chosen at random.", min=1)
    ] = None
    labels_per_class: Annotated[
        int | None,
        Option(help="Hide all training labels but so many of each class, by --seed.", min=1),
    ] = None
    label_noise: Annotated[
        float | None,
        Option(help="Make this share of the training labels wrong, by --seed.", min=0, max=1),
    ] = None
    epochs: Epochs = None
    batch_size: BatchSize = None
    learning_rate: LearningRate = None
    ema_momentum: EmaMomentum = None
    gradient_clip_norm: Annotated[
        float | None, Option(help="A longer gradient is scaled down to this norm; 0: never.", min=0)
    ] = None
    horizontal_flip: Annotated[bool | None, Option(help="Mirror half of the training images.")] = (
        None
    )
    precision: Annotated[Precision, Option(help="Of the computations.")] = "float32"
    jit_compile: Annotated[bool | None, Option(help="Compile with XLA.")] = None
    seed: Annotated[int, Option(help="Same seed, same numbers.", min=0)] = 0
    max_validation_examples: Annotated[
        int | None,
        Option(
            help="Measure on so many validation images after each epoch; 0: all. Unless given, "
            "as many as take no longer than the epoch.",
            min=0,
        ),
    ] = None
    plugin: Annotated[
        list[str] | None,
        Option(help="A module to import first, such as one that adds strategies; may be repeated."),
    ] = None
    callback: Annotated[
        list[str] | None,
        Option(help="MODULE:OBJECT, a Keras callback or what returns one; may be repeated."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PixelCNNOptions(Options):
    """What `train pixelcnnpp` takes. `None`: as the preset has it, else `TRAINING_DEFAULTS`."""

    preset: Annotated[
        str | None,
        Option(
            help="Where defaults come from: a name that `pixelcnnpp presets` lists, or a folder. "
            "Unless given, what suits the data, else cpen455."
        ),
    ] = None
    architecture: Annotated[
        Literal["pixelcnnpp", "gated_pixelcnn", "pixelcnn"] | None, Option(help="The network.")
    ] = None
    head: Annotated[
        Literal["logistic_mixture", "categorical"] | None,
        Option(help="The distribution of a pixel."),
    ] = None
    num_levels: Annotated[
        int | None,
        Option(help="Values of a sub-pixel: fewer make images coarser.", min=2, max=256),
    ] = None
    filters: Annotated[
        str | None, Option(help="Width, or one per resolution: 24,48,96.", callback=numbers)
    ] = None
    num_blocks: Annotated[
        str | None,
        Option(help="Blocks at each resolution, or one number for each.", callback=numbers),
    ] = None
    num_resolutions: Annotated[int | None, Option(help="Each halves height and width.")] = None
    num_mixtures: Annotated[int | None, Option(help="Logistic components.")] = None
    dropout_rate: Annotated[float | None, Option(help="In [0, 1).")] = None
    conditioning: Annotated[
        str | None, Option(help="How labels enter: none, bias, film, …, or several with +.")
    ] = None
    conditioned_blocks: Annotated[
        str | None, Option(help="Which blocks see the label: all, up, or up_left (fastest).")
    ] = None
    label_dropout_rate: Annotated[
        float | None, Option(help="Share of training images without their label.")
    ] = None
    label_loss_weight: Annotated[
        float | None, Option(help="Of the cross-entropy over the candidate labels.", min=0)
    ] = None
    num_candidates: Annotated[
        int | None, Option(help="Candidate labels for each image, at most one per class.", min=2)
    ] = None
    unlabeled_weight: Annotated[
        float | None, Option(help="Of training images without a label; 0 leaves them out.", min=0)
    ] = None
    initial_logit_scale: Annotated[
        float | None, Option(help="First factor on the log-likelihoods, learned.", min=0)
    ] = None
    learn_logit_scale: Annotated[bool | None, Option(help="Learn that factor.")] = None
    learn_class_bias: Annotated[bool | None, Option(help="Learn an offset for each class.")] = None
    initial_weights: Annotated[
        str | None,
        Option(help="Start from a preset with weights, or from a run or its model.keras."),
    ] = None
    likelihood_epochs: Annotated[
        int | None,
        Option(
            help="First epochs, by likelihood alone. Unless given, as large a share as the "
            "preset's; with --unlabeled-weight none.",
            min=0,
        ),
    ] = None
    learning_rate_schedule: Annotated[
        Literal["exponential", "cosine"] | None,
        Option(help="A factor per step, or down to a hundredth at the end."),
    ] = None
    learning_rate_decay: Annotated[
        float | None, Option(help="That factor per step.", min=0, max=1)
    ] = None
    learning_rate_warmup: Annotated[
        int | None,
        Option(
            help="Steps over which the rate rises, at the start and after --likelihood-epochs; at "
            "most a tenth of all.",
            min=1,
        ),
    ] = None
    labeled_fraction: Annotated[
        float | None,
        Option(
            help="With --unlabeled-weight: repeat labeled images up to this share.",
            min=0,
            max=0.99,
        ),
    ] = None
    crop_margin: Annotated[
        int | None,
        Option(
            help="Read image files this much larger too, to train half of the time on a random "
            "crop.",
            min=0,
        ),
    ] = None
    mutation_rate: Annotated[
        float | None,
        Option(
            help="Share of sub-pixels replaced by random ones, for a model of the background.",
            min=0,
            max=0.99,
        ),
    ] = None
    sample_every: Annotated[
        int | None, Option(help="Epochs between grids of samples in TensorBoard; 0: none.", min=0)
    ] = None
    devices: Annotated[
        int | None, Option(help="Devices that share every batch (TensorFlow, JAX).", min=1)
    ] = None
    workers: Annotated[
        str | None,
        Option(
            help="HOST:PORT of each process that shares every batch, with commas between (JAX). "
            "All must see the run folder; the first writes it."
        ),
    ] = None
    worker: Annotated[
        int | None, Option(help="This process's place in --workers, from 0.", min=0)
    ] = None


@dataclass(frozen=True, kw_only=True)
class BaselineOptions(Options):
    """What `train baseline` takes. There is no preset: what stands here is what is trained with."""

    epochs: Epochs = 25
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 2e-3
    ema_momentum: EmaMomentum = 0.99
    weight_decay: Annotated[float, Option(help="AdamW's.", min=0)] = 0.02
    row_mask_rate: Annotated[
        float,
        Option(
            help="Share of images of which only the first rows are left, to learn to judge parts.",
            min=0,
            max=0.99,
        ),
    ] = 0.0


# Training options of `train pixelcnnpp`, where neither user nor preset gives one; `None`: none.
TRAINING_DEFAULTS = {
    "max_examples": None,
    "epochs": 100,
    "batch_size": 16,
    "learning_rate": 2e-4,
    "learning_rate_schedule": "exponential",
    "learning_rate_decay": 1.0,
    "learning_rate_warmup": None,
    "ema_momentum": 0.0,
    "gradient_clip_norm": 0.0,
    "horizontal_flip": False,
    "crop_margin": 0,
    "mutation_rate": 0.0,
    "likelihood_epochs": 0,
    "labeled_fraction": 0.0,
    "initial_weights": None,
    "precision": "float32",
    "jit_compile": None,
    "seed": 0,
    "max_validation_examples": None,
    "sample_every": 5,
}
WATCHING = ("max_validation_examples", "sample_every")
MAY_CHANGE = ("epochs", "gradient_clip_norm", "jit_compile", *WATCHING)  # when a run is resumed
# Of a run's data, or about how the command goes; all others are the model's or its training's.
_NEITHER = (
    *("data", "image_size", "resize", "skip_corrupted", "labels_per_class"),
    *("label_noise", "run", "resume", "overwrite", "plugin", "callback", "preset"),
    *("devices", "workers", "worker"),
)
# A mirrored digit is no digit; most photographs may be mirrored.
NOT_MIRRORED = ("digits", "mnist")
_GIVEN_BY_DATA = ("image_shape", "num_classes")


class PlainHelp(TyperCommand):
    """A command whose help has no frames, in which long names of options would be cut."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "rich_markup_mode": None})


def taking(declaration: type) -> Callable:
    """A decorator: the command has the options of a dataclass, and is called with one."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def command(**values):
            return function(declaration(**values))

        options = dataclasses.fields(declaration)
        command.__annotations__ = {option.name: option.type for option in options}
        command.__signature__ = inspect.Signature([_parameter(option) for option in options])
        return command

    return decorate


def _parameter(option):
    required = option.default is dataclasses.MISSING
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else option.default,
        annotation=option.type,
    )


def overrides(options: Options) -> dict:
    """The options of model and training by name; `None`: as the preset has it."""
    return {name: v for name, v in vars(options).items() if name not in _NEITHER}


def resolve_options(
    preset: dict, overrides: dict, num_classes: int, from_files: bool = True
) -> tuple[dict, dict]:
    """A preset's values, overridden by what the user gave, and fitted to the data.

    A preset was made for other data: where its weight of the cross-entropy, its candidates or its
    crops have no meaning for these, they give way. What the user gave is refused instead. Of
    another number of epochs as large a share is by likelihood alone, and none where images
    without a label teach too.

    Args:
        preset: Its configuration.
        overrides: What the user gave; `None` is "as the preset has it".
        num_classes: Of the data.
        from_files: Whether the images are files, which can be read at a larger size.

    Returns:
        The arguments of the model, without those that the data gives, and the training options.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    training = {**TRAINING_DEFAULTS, **preset["training"]}
    if "epochs" in given:
        training["likelihood_epochs"] = likelihood_epochs(training, given["epochs"])
    training = {name: given.pop(name, value) for name, value in training.items()}
    architecture = {"architecture": preset.get("architecture", "pixelcnnpp")}
    model = {**preset["model"], **architecture, **given}
    model = {name: value for name, value in model.items() if name not in _GIVEN_BY_DATA}
    if model.get("unlabeled_weight"):
        training["likelihood_epochs"] = overrides.get("likelihood_epochs") or 0
        if "num_candidates" not in given:
            model["num_candidates"] = None
    if model.get("conditioning") == "none":
        num_classes = 0
    if num_classes < 2 and model.get("label_loss_weight") and "label_loss_weight" not in given:
        model["label_loss_weight"] = 0.0
    if not from_files and overrides.get("crop_margin") is None:
        training["crop_margin"] = 0
    _check(model, training, num_classes)
    return model, training


def _check(model: dict, training: dict, num_classes: int) -> None:
    share = training["labeled_fraction"]
    one_resolution = model["architecture"] != "pixelcnnpp"
    for name in ("num_resolutions", "conditioned_blocks"):
        if one_resolution and name in model:
            _refuse(
                name,
                f"{model['architecture']} has one resolution, and all its blocks see the label.",
                model[name],
            )
    for name in ("label_loss_weight", "unlabeled_weight"):
        if model.get(name) and num_classes < 2:
            _refuse(name, "Without labels (conditioning none) it must be 0.", model[name])
    if share and not model.get("unlabeled_weight"):
        _refuse("labeled_fraction", "It needs an `unlabeled_weight` above 0.", share)


def _refuse(option: str, why: str, received: object) -> None:
    raise UserError(f"Invalid value for option `{option}`. {why} Received: {option}={received}")
