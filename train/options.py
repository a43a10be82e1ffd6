"""Every option of the training commands, declared once; and the merge with a preset."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.presets import likelihood_epochs
from keras_pixelcnnpp.train.command_line import (
    DATA,
    DEVICES,
    LABEL,
    NETWORK,
    RUN,
    SCHEDULE,
    WATCHED,
    Model,
    Training,
    marked,
    option,
    training_defaults,
)


class Resize(StrEnum):
    """What becomes of pictures of another aspect ratio."""

    crop = "crop"
    squeeze = "squeeze"


class Precision(StrEnum):
    """Keras's dtype policies, and float32 with a GPU's faster products."""

    float32 = "float32"
    tf32 = "tf32"
    mixed_bfloat16 = "mixed_bfloat16"
    mixed_float16 = "mixed_float16"


class Architecture(StrEnum):
    """The models of the family."""

    pixelcnnpp = "pixelcnnpp"
    gated_pixelcnn = "gated_pixelcnn"
    pixelcnn = "pixelcnn"


class Head(StrEnum):
    """The distributions of a pixel."""

    logistic_mixture = "logistic_mixture"
    categorical = "categorical"


class Schedule(StrEnum):
    """How the learning rate falls."""

    exponential = "exponential"
    cosine = "cosine"


class Log(StrEnum):
    """The experiment trackers whose own Keras callback is known."""

    wandb = "wandb"
    mlflow = "mlflow"


def per_resolution(parameter: typer.CallbackParam, text: str | None) -> int | list[int] | None:
    """`"40"` gives 40, `"24,48,96"` a number for each resolution."""
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"Invalid value for option `{parameter.name}`. Expected a positive integer, or one for "
            f"each resolution with commas between. Received: {text!r}"
        ) from None
    return numbers if len(numbers) > 1 else numbers[0]


Preset = Annotated[
    str | None,
    option(
        NETWORK,
        "Where defaults come from: one that pixelcnnpp presets lists, or a folder.",
        show_default="what suits the data, else cpen455",
    ),
]
Epochs = Annotated[int | None, option(SCHEDULE, "Passes over the training pictures.", min=1)]
BatchSize = Annotated[int | None, option(SCHEDULE, "Pictures per step.", min=1)]
LearningRate = Annotated[float | None, option(SCHEDULE, "Adam's, at the beginning.", min=0)]
EmaMomentum = Annotated[
    float | None,
    option(
        SCHEDULE,
        "Momentum of the moving average of the weights, to which it rises; 0: none.",
        min=0,
        max=1,
    ),
]
GradientClipNorm = Annotated[
    float | None,
    option(SCHEDULE, "A longer gradient is scaled down to this norm; 0: never.", min=0),
]
HorizontalFlip = Annotated[bool | None, option(DATA, "Mirror half of the training pictures.")]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What all three commands take."""

    data: Annotated[
        str,
        option(
            DATA,
            "digits, mnist, fashion_mnist, cifar10, an .npz, or a folder: with train.csv, of class "
            "folders, or of idx files.",
        ),
    ]
    image_size: Annotated[
        int | None,
        option(
            DATA,
            "Resize pictures to this height and width.",
            min=1,
            show_default="32 for folders, else the data's",
        ),
    ] = None
    resize: Annotated[
        Resize,
        option(
            DATA,
            "Pictures of another aspect ratio: cut off in the middle, or squeeze, here and in "
            "whatever uses the model.",
        ),
    ] = Resize.crop
    num_levels: Annotated[
        int | None,
        option(
            DATA,
            "Values of a sub-pixel: fewer make pictures coarser.",
            min=2,
            max=256,
            show_default="the data's",
        ),
    ] = None
    skip_bad_files: Annotated[
        bool,
        option(
            DATA,
            "Go on without the picture files that cannot be read, here and in evaluate.",
            "--skip-bad-files",
        ),
    ] = False
    limit: Annotated[
        int | None,
        option(DATA, "Train on so many pictures, chosen at random, for a trial.", min=1),
        Training("all"),
    ] = None
    epochs: Annotated[Epochs, Training(fallback=100, may_change=True)] = None
    batch_size: Annotated[BatchSize, Training(fallback=16)] = None
    learning_rate: Annotated[LearningRate, Training(fallback=2e-4)] = None
    ema_momentum: Annotated[EmaMomentum, Training(fallback=0.0)] = None
    precision: Annotated[
        Precision,
        option(
            DEVICES,
            "Of the computations: float32, tf32, mixed_bfloat16 or mixed_float16.",
            metavar="<name>",
        ),
        Training(),
    ] = Precision.float32
    run: Annotated[Path, option(RUN, "The run folder, such as runs/digits.")]
    overwrite: Annotated[
        bool, option(RUN, "Start over in a folder that holds a run.", "--overwrite")
    ] = False
    plugin: Annotated[
        list[str] | None,
        option(
            RUN,
            "A module to import first, such as one that adds strategies; may be repeated.",
            show_default="none",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ModelOptions(TrainingOptions):
    """What the commands take that train one model."""

    labels_per_class: Annotated[
        int | None,
        option(
            DATA,
            "Hide all labels of the split train but so many of each class, chosen by --seed.",
            min=1,
            show_default="none is hidden",
        ),
    ] = None
    flip_labels: Annotated[
        float | None,
        option(
            DATA,
            "Share of the labels of the split train that become a wrong one, chosen by --seed: for "
            "benchmarks/wrong_labels.py.",
            min=0,
            max=1,
            show_default="none",
        ),
    ] = None
    horizontal_flip: Annotated[HorizontalFlip, Training(fallback=False)] = None
    gradient_clip_norm: Annotated[GradientClipNorm, Training(fallback=0.0, may_change=True)] = None
    jit_compile: Annotated[
        bool | None,
        option(DEVICES, "Compile with XLA."),
        Training("what suits backend and device", may_change=True),
    ] = None
    seed: Annotated[int, option(RUN, "Same seed, same numbers.", min=0), Training()] = 0
    validation_limit: Annotated[
        int | None,
        option(
            WATCHED,
            "Measure after each epoch on so many validation pictures, chosen at random; 0: all.",
            min=0,
        ),
        Training("as many as take no longer than the epoch", watching=True),
    ] = None
    log: Annotated[
        list[Log] | None,
        option(
            WATCHED,
            "wandb or mlflow: what is measured goes there too; may be repeated.",
            metavar="<name>",
            show_default="none",
        ),
    ] = None
    figures_every: Annotated[
        int | None,
        option(
            WATCHED,
            "Epochs between figures in TensorBoard: calibration, and accuracy by the part of a "
            "picture that was seen; 0: none.",
            min=0,
        ),
        Training("5", 5, watching=True),
    ] = None
    resume: Annotated[bool, option(RUN, "Go on from the last checkpoint.", "--resume")] = False
    callback: Annotated[
        list[str] | None,
        option(
            RUN,
            "MODULE:OBJECT, a Keras callback or what returns one when called; may be repeated.",
            show_default="none",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PixelCNNOptions(ModelOptions):
    """What `train pixelcnnpp` takes."""

    crop_margin: Annotated[
        int | None,
        option(
            DATA,
            "Read the picture files this much larger as well, and train half of the time on a crop "
            "at a random place.",
            min=0,
        ),
        Training(fallback=0),
    ] = None
    perturb: Annotated[
        float | None,
        option(
            DATA,
            "Share of sub-pixels replaced by random levels, which makes a model of the background "
            "for evaluate foreign --background.",
            min=0,
            max=0.99,
        ),
        Training("0"),  # no other fallback: a run of before this option can be resumed
    ] = None
    preset: Preset = None
    architecture: Annotated[
        Architecture | None,
        option(NETWORK, "pixelcnnpp, gated_pixelcnn or pixelcnn.", metavar="<name>"),
        Model(),
    ] = None
    head: Annotated[
        Head | None,
        option(
            NETWORK,
            "The distribution of a pixel: logistic_mixture or categorical.",
            metavar="<name>",
        ),
        Model(),
    ] = None
    filters: Annotated[
        str | None,
        option(
            NETWORK,
            "Width of the network, or one per resolution: 24,48,96.",
            callback=per_resolution,
        ),
        Model(),
    ] = None
    num_blocks: Annotated[
        str | None,
        option(
            NETWORK,
            "Blocks at each resolution, or one number for each: 1,1,2.",
            callback=per_resolution,
        ),
        Model(),
    ] = None
    num_resolutions: Annotated[
        int | None, option(NETWORK, "Each one halves height and width."), Model()
    ] = None
    num_mixtures: Annotated[int | None, option(NETWORK, "Logistic components."), Model()] = None
    dropout_rate: Annotated[float | None, option(NETWORK, "In [0, 1)."), Model()] = None
    initial_weights: Annotated[
        str | None,
        option(
            NETWORK,
            "What to start from: a preset with weights, or a run or its model.keras, of the same "
            "architecture.",
        ),
        Training("random weights"),
    ] = None
    conditioning: Annotated[
        str | None,
        option(LABEL, "How labels enter: none, bias, film, …, or several with +."),
        Model(),
    ] = None
    conditioned_blocks: Annotated[
        str | None,
        option(
            LABEL,
            "Which blocks see the label: all; up, from the lowest resolution on; or up_left, of "
            "these one stream's, which is fastest with several candidates.",
        ),
        Model(),
    ] = None
    label_dropout_rate: Annotated[
        float | None, option(LABEL, "Share of training pictures without their label."), Model()
    ] = None
    label_loss_weight: Annotated[
        float | None,
        option(LABEL, "Weight of the cross-entropy over the candidate labels.", min=0),
        Model(),
    ] = None
    unlabelled_weight: Annotated[
        float | None,
        option(
            LABEL,
            "Weight of training pictures without a label, of which p(x) is learned, with all "
            "classes as candidates; 0 leaves them out.",
            min=0,
        ),
        Model("preset, else 0"),
    ] = None
    labelled_share: Annotated[
        float | None,
        option(
            LABEL,
            "With --unlabelled-weight: where labels are fewer, the labelled pictures come so often "
            "in an epoch that they are this share of it.",
            min=0,
            max=0.99,
        ),
        Training("as they are"),  # no other fallback: a run of before this option can be resumed
    ] = None
    initial_temperature: Annotated[
        float | None,
        option(LABEL, "What the log-likelihoods are multiplied by at first; learned.", min=0),
        Model(),
    ] = None
    learn_temperature: Annotated[
        bool | None, option(LABEL, "Learn that factor."), Model("preset, else yes")
    ] = None
    learn_offsets: Annotated[
        bool | None, option(LABEL, "Learn an offset for each class."), Model("preset, else yes")
    ] = None
    candidates: Annotated[
        int | None,
        option(LABEL, "Candidate labels per picture.", min=1),
        Training("preset, else 1, or all with a label loss"),
    ] = None
    warmup_epochs: Annotated[
        int | None,
        option(
            LABEL,
            "First epochs with one candidate: plain likelihood, of the pictures with a label. "
            "With --unlabelled-weight none, unless given.",
            min=0,
        ),
        Training("as large a share of the epochs as the preset's", 0),
    ] = None
    learning_rate_schedule: Annotated[
        Schedule | None,
        option(
            SCHEDULE,
            "exponential: a factor per step, --learning-rate-decay. cosine: down to a hundredth at "
            "the end of the last epoch.",
            metavar="<name>",  # beside the longest name there is no room for both
        ),
        Training("preset, else exponential", "exponential"),
    ] = None
    learning_rate_decay: Annotated[
        float | None,
        option(SCHEDULE, "Factor on the learning rate per step.", min=0, max=1),
        Training(fallback=1.0),
    ] = None
    learning_rate_warmup: Annotated[
        int | None,
        option(
            SCHEDULE,
            "Steps over which the learning rate rises, at the start and again after "
            "--warmup-epochs; at most a tenth of all steps.",
            min=1,
        ),
        Training("preset, else none"),
    ] = None
    sample_every: Annotated[
        int | None,
        option(
            WATCHED,
            "Epochs between grids of generated pictures in TensorBoard; 0: none.",
            min=0,
        ),
        Training("5", 5, watching=True),
    ] = None
    histogram_every: Annotated[
        int | None,
        option(WATCHED, "Epochs between histograms of the weights in TensorBoard; 0: none.", min=0),
        Training("0", 0, watching=True),
    ] = None
    frechet_every: Annotated[
        int | None,
        option(
            WATCHED,
            "Epochs between Fréchet distances of generated pictures to those of the split "
            "validation, by the features of the run's baseline CNN, to be trained first; 0: none.",
            min=0,
        ),
        Training("0", 0, watching=True),
    ] = None
    devices: Annotated[
        int | None,
        option(
            DEVICES,
            "Devices of this machine that share every batch (TensorFlow, JAX).",
            min=1,
            show_default="one",
        ),
    ] = None
    workers: Annotated[
        str | None,
        option(
            DEVICES,
            "HOST:PORT of each process that shares every batch, with commas between; the same "
            "command runs on each, with its own --worker. JAX only. All must see the run folder; "
            "the first writes it.",
            show_default="the environment variable TF_CONFIG, else none",
        ),
    ] = None
    worker: Annotated[
        int | None,
        option(
            DEVICES,
            "This process's place in --workers, from 0.",
            min=0,
            show_default="as --workers",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class BaselineOptions(ModelOptions):
    """What `train baseline` takes. There is no preset: what stands here is what is trained with."""

    epochs: Annotated[Epochs, Training()] = 25
    batch_size: Annotated[BatchSize, Training()] = 64
    learning_rate: Annotated[LearningRate, Training()] = 2e-3
    weight_decay: Annotated[float | None, option(SCHEDULE, "AdamW's.", min=0), Training()] = 0.02
    ema_momentum: Annotated[EmaMomentum, Training()] = 0.99
    gradient_clip_norm: Annotated[GradientClipNorm, Training(may_change=True)] = 0.0
    horizontal_flip: Annotated[HorizontalFlip, Training("yes, of digits and mnist no")] = None
    cut_rate: Annotated[
        float | None,
        option(
            DATA,
            "Share of pictures of which only the first rows are left, and the mean picture fills "
            "the rest, to judge parts: evaluate classification --partial.",
            min=0,
            max=0.99,
        ),
        Training("0"),  # no other fallback: a run of before this option can be resumed
    ] = None


TRAINING_DEFAULTS = training_defaults(PixelCNNOptions)
WATCHING = tuple(name for name, mark in marked(PixelCNNOptions, Training).items() if mark.watching)
# A mirrored digit is no digit; most photographs may be mirrored.
NOT_MIRRORED = ("digits", "mnist")
GIVEN_BY_DATA = ("image_shape", "num_classes", "num_levels")


def resolve_options(
    preset: dict, overrides: dict, num_classes: int, from_files: bool = True
) -> tuple[dict, dict]:
    """A preset's values, overridden by what the user gave, and fitted to the data.

    A preset was made for other data: where its candidates, its weight of the cross-entropy or its
    crops have no meaning for these, they give way. What the user gave is refused instead. Of
    another number of epochs as large a share is by likelihood alone, and none where pictures
    without a label teach too: these epochs would leave them out.

    Args:
        preset: Its configuration.
        overrides: What the user gave; `None` is "as the preset has it".
        num_classes: Of the data.
        from_files: Whether the pictures are files, which can be read at a larger size.

    Returns:
        The arguments of the model, without those that the data gives, and the training options.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    training = {**TRAINING_DEFAULTS, **preset["training"]}
    training.pop("num_levels", None)  # the data have them by now
    if "epochs" in given:
        training["warmup_epochs"] = likelihood_epochs(training, given["epochs"])
    training = {name: given.pop(name, value) for name, value in training.items()}
    architecture = {"architecture": preset.get("architecture", "pixelcnnpp")}
    model = {**preset["model"], **architecture, **given}
    model = {name: value for name, value in model.items() if name not in GIVEN_BY_DATA}
    if model.get("unlabelled_weight") and overrides.get("warmup_epochs") is None:
        training["warmup_epochs"] = 0
    if model.get("conditioning") == "none":
        num_classes = 0
    if num_classes < 2 and model.get("label_loss_weight") and "label_loss_weight" not in given:
        model["label_loss_weight"] = 0.0
    if overrides.get("candidates") is None:
        enough = num_classes if model.get("label_loss_weight") else 1
        training["candidates"] = min(training["candidates"] or enough, enough)
        if model.get("unlabelled_weight"):
            training["candidates"] = num_classes
    if not from_files and overrides.get("crop_margin") is None:
        training["crop_margin"] = 0
    _check(model, training, num_classes)
    return model, training


def _check(model: dict, training: dict, num_classes: int) -> None:
    candidates = training["candidates"]
    for name in ("num_resolutions", "conditioned_blocks"):
        if name in model and model["architecture"] != "pixelcnnpp":
            raise UserError(
                f"Invalid option `{name}`. {model['architecture']} has one resolution, and all its "
                f"blocks see the label. Received: {name}={model[name]}"
            )
    if model.get("label_loss_weight") and num_classes < 2:
        raise UserError(
            "Invalid value for option `label_loss_weight`. Without labels (conditioning none) it "
            f"must be 0. Received: label_loss_weight={model['label_loss_weight']}"
        )
    if model.get("unlabelled_weight") and not 1 < candidates == num_classes:
        raise UserError(
            "Invalid value for option `unlabelled_weight`. Pictures without a label need all "
            f"classes as candidates, of {num_classes}, at least 2. Received: "
            f"unlabelled_weight={model['unlabelled_weight']}, candidates={candidates}"
        )
    if training["labelled_share"] and not model.get("unlabelled_weight"):
        raise UserError(
            "Invalid value for option `labelled_share`. Without `unlabelled_weight` above 0, "
            "pictures without a label are left out. Received: "
            f"labelled_share={training['labelled_share']}"
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
