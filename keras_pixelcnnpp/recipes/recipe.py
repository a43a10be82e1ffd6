"""Recipes: the arguments of a model and the options of its training, with defaults and limits.

This file imports neither Keras nor typer, so that commands declare their options without delay. A
value that the user gives comes first, then that of a run (with `--resume`), of a preset, and of
`DEFAULTS`. Values of a preset that do not fit the data are dropped; those of the user are an error.
"""

import math
from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from keras_pixelcnnpp.recipes.existing import existing_data
from keras_pixelcnnpp.utils.errors import UserError

Precision = Literal["float32", "tf32", "mixed_bfloat16", "mixed_float16"]

# Presets and runs store each value that trains, and this number of their format. One that lacks an
# option is older than the option, and means its value in `DEFAULTS`. So the default of an option is
# what the package did before it had the option; another default needs another format.
FORMAT = 1
# The commands that train a model of each kind.
COMMANDS = {"pixelcnnpp": "train", "baseline": "train-baseline"}
# Options of the data, which both models of a run share, and of how image files are read.
DATA = (
    *("data", "image_size", "channels", "resize", "random_crops"),
    *("skip_corrupted", "white_level", "split_seed", "vectors"),
)
READING = ("resize", "white_level")
MONITORING = ("max_validation_examples", "sample_every")
# Options that may differ when a training run is resumed.
MAY_CHANGE = ("epochs", "gradient_clip_norm", "jit_compile", *MONITORING)
# Arguments of a model that the data determine.
OF_THE_DATA = ("image_shape", "num_classes", "class_names", "conditions", "ordered_levels")


def option(text: str, default: Any = None, **declaration: Any) -> Any:
    """Declares an option of a command, as a field of a dataclass.

    `with_options` in `commands/helpers.py` gives commands these fields. `text` is the help text.
    The default `...` makes the option required. `declaration` has further arguments of
    `typer.Option`, such as `min`. Those that begin with `of_` say where the option belongs:
    `of_model` to the arguments of the model, `of_preset` to the training options that a preset may
    set, and `of_output` to the files that the command writes: it has the endings that are added to
    the path. Other paths are those that it reads.
    """
    default = MISSING if default is ... else default
    return field(default=default, metadata={"help": text, **declaration})


def how_to_read(num_levels: int, codes: bool) -> dict[str, Any]:
    """Returns the arguments of `load_dataset` for the images, or the codes, of a model."""
    return {
        "as_uint16": num_levels > 256 and not codes,
        "num_codes": num_levels if codes else None,
    }


def numbers(text: str | None) -> int | list[int] | None:
    """Parses an integer, `"40"`, or a list with one integer per resolution, `"24,48,96"`."""
    if text is None:
        return None
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            "Invalid value for --filters or --num-blocks. Expected a positive integer, or one for "
            f"each resolution, separated by commas. Received: {text!r}"
        ) from None
    return values if len(values) > 1 else values[0]


def _require_valid(one: Field, value: object) -> None:
    """Raises a `UserError` if a value, perhaps from a file, is not one of an option."""
    kind: Any = get_args(one.type)[0]  # of `kind | None`
    kind = str if get_origin(kind) is Literal else kind
    kinds = {bool: "true or false", int: "an integer", float: "a number"}
    expected = kinds.get(kind, "a name")
    is_valid = type(value) is kind or (kind is float and type(value) is int)
    if "min" in one.metadata:
        low, high = one.metadata["min"], one.metadata.get("max", math.inf)
        expected += f" of at least {low}" if high == math.inf else f" from {low} to {high}"
        is_valid = is_valid and low <= value <= high
    if not is_valid:
        raise UserError(
            f"Invalid value for option `{one.name}`. Expected {expected}. "
            f"Received: {one.name}={value!r:.80}"
        )


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "not set" if value is None else str(value)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options of how images are read and split. `None` means that no value is set."""

    data: str | None = option(
        "Images: digits, mnist, fashion_mnist, cifar10, an .npz file, a folder with a CSV file, or "
        "a folder of class folders or images. Default with --resume: those of the run.",
        callback=existing_data,
    )
    image_size: int | None = option(
        "Height and width to resize images to, in pixels. Default: 32 for a folder, otherwise "
        "unchanged.",
        min=1,
    )
    channels: int | None = option(
        "1 for gray, 3 for RGB. Default: 3 for a folder, otherwise unchanged."
    )
    resize: Literal["center_crop", "stretch"] | None = option(
        "How to resize images of another aspect ratio, by Pillow's bilinear filter with "
        "antialiasing. Default: center_crop.",
        of_preset=True,
    )
    skip_corrupted: bool | None = option("Skip image files that cannot be read.")
    white_level: int | None = option(
        "Value of white in 16-bit gray image files, such as 4095 for 12-bit data. Default: 65535.",
        min=1,
        of_preset=True,
    )
    split_seed: int | None = option(
        "Random seed that chooses the images of splits that the data lack. Default: 0.",
        min=0,
        max=2**32 - 1,
    )
    vectors: str | None = option(
        "Names of the components of the vectors on which to condition the model, such as "
        "beta,field: columns of the CSV files, or names for the array of an .npz file. "
        "intensity:log scales the logarithm of a component, beta:0.2:0.6 and "
        "intensity:log:0.1:1000 give its bounds. Default of all: the training vectors' extremes."
    )

    def loading(self) -> dict[str, Any]:
        """Returns the arguments of `load_dataset` that say how images are read and split."""
        return {
            "seed": self.split_seed or 0,
            "resize": self.resize or "center_crop",
            "skip_corrupted": bool(self.skip_corrupted),
            "white_level": self.white_level,
            "vectors": tuple(name for name, *_ in self.components()),
        }

    def components(self) -> list[tuple[str, str, tuple[float, ...]]]:
        """Returns name, scale, and bounds, which may be empty, of each component of vectors.

        Raises:
            UserError: If a component has other words than these, or only some have bounds.
        """
        found = []
        for text in self.vectors.split(",") if self.vectors else ():
            name, *words = text.strip().split(":")
            scale = "log" if words[:1] == ["log"] else "linear"
            try:
                bounds = tuple(map(float, words[scale == "log" :]))
            except ValueError:
                bounds = (math.nan,)
            if not name or len(bounds) not in (0, 2) or not all(map(math.isfinite, bounds)):
                raise UserError(
                    "Invalid value for --vectors. Expected NAME, NAME:log, NAME:LOW:HIGH, or "
                    f"NAME:log:LOW:HIGH for each component. Received: {text}"
                )
            found.append((name, scale, bounds))
        if len({len(bounds) for *_, bounds in found}) > 1:
            raise UserError(
                "Invalid value for --vectors. Expected bounds of all components, or of none. "
                f"Received: {self.vectors}"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Recipe(Reading):
    """Options of the data and the training of both models. `None` means that no value is set.

    Raises:
        UserError: If a number is out of its range, or a value has another type.
    """

    # Values of a training where neither the user nor a preset sets any; the help shows them.
    DEFAULTS: ClassVar[dict] = {"precision": "float32", "seed": 0}
    section: ClassVar[str]  # of `config.json`

    random_crops: bool | None = option(
        "Train on random crops of images at their own size, and validate on their centers."
    )
    max_examples: int | None = option(
        "Number of training images, labeled or not, to choose at random. Default: all.", min=1
    )
    epochs: int | None = option("Number of passes over the training images.", min=1, of_preset=True)
    batch_size: int | None = option("Number of images per training step.", min=1, of_preset=True)
    learning_rate: float | None = option("Peak learning rate.", min=0, of_preset=True)
    ema_momentum: float | None = option(
        "Momentum of the weight average, capped at 1 - 10/steps; 0 for no averaging.",
        min=0,
        max=1,
        of_preset=True,
    )
    gradient_clip_norm: float | None = option(
        "Maximum norm of the gradient; 0 for no clipping.", min=0, of_preset=True
    )
    horizontal_flip: bool | None = option(
        "Randomly flip training images horizontally.", of_preset=True
    )
    crop_margin: int | None = option(
        "Read image files this many pixels larger, and randomly crop them half of the time. All "
        "files must be large enough.",
        min=0,
        of_preset=True,
    )
    precision: Precision | None = option("Floating-point precision.")
    jit_compile: bool | None = option(
        "Compile with XLA or torch. Default: on for JAX, and for TensorFlow on a GPU."
    )
    seed: int | None = option("Random seed of the training run.", min=0, max=2**32 - 1)
    max_validation_examples: int | None = option(
        "Number of validation images to evaluate after each epoch; 0 for all. Default: limited so "
        "that the evaluation takes no longer than the epoch.",
        min=0,
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            is_checked_later = "of_model" in one.metadata and "min" not in one.metadata
            value = getattr(self, one.name)
            if value is not None and not is_checked_later:  # by the model
                _require_valid(one, value)

    @classmethod
    def of(cls, values: dict) -> Self:
        """Returns the recipe with the values of a dict; unknown names raise a `UserError`."""
        if unknown := values.keys() - set(cls.names()):
            raise UserError(f"Unknown options of a recipe: {', '.join(sorted(unknown))}")
        return cls(**values)

    @classmethod
    def names(cls, place: str | None = None) -> list[str]:
        """Returns the names of all options, or of those that belong to a place, `"of_model"`."""
        return [one.name for one in fields(cls) if place is None or place in one.metadata]

    def values(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """Returns the values that are set by name, of all options or those with some names."""
        names = names or self.names()
        return {name: v for name in names if (v := getattr(self, name)) is not None}

    def over(self, other: "Recipe") -> Self:
        """Returns this recipe with the values of another one where no value is set."""
        return replace(self, **{**other.values(), **self.values()})

    def with_defaults(self) -> Self:
        """Returns this recipe with the default values of a training."""
        return replace(self, **{**self.DEFAULTS, **self.values()})

    def values_read(self) -> dict[str, Any]:
        """Returns the arguments of `load_dataset` that say which values the images have."""
        return how_to_read(256, codes=False)

    def options(self) -> dict[str, Any]:
        """Returns the values that are set, without those of the data, for a run's `config.json`."""
        return {name: value for name, value in self.values().items() if name not in DATA}

    def loading(self) -> dict[str, Any]:
        crop = {"resize": "crop"} if self.random_crops else {}
        return {**super().loading(), **crop, **self.values_read()}

    def words(self) -> list[str]:
        """Returns the values that are set as words of a command, such as `--seed` and `1`."""
        found = []
        for name, value in self.values().items():
            option = name.replace("_", "-")
            switch = {True: [f"--{option}"], False: [f"--no-{option}"]}
            found += switch[value] if isinstance(value, bool) else [f"--{option}", str(value)]
        return found

    def differences(self, other: "Recipe", names: Iterable[str]) -> str:
        """Returns the options in which another recipe differs, such as `--seed 0 (now 1)`."""
        found = []
        for name in names:
            before, now = (getattr(one, name) for one in (self, other))
            if before != now:
                found.append(f"--{name.replace('_', '-')} {_shown(before)} (now {_shown(now)})")
        return ", ".join(found)

    def of_optimizer(self, steps: int) -> dict[str, Any]:
        """Returns the options for `optimizers.make_optimizer`, for a number of steps."""
        return self.values()


@dataclass(frozen=True, kw_only=True)
class PixelCNNRecipe(Recipe):
    """A recipe of a PixelCNN++, Gated PixelCNN or PixelCNN."""

    section = "pixelcnnpp"
    DEFAULTS: ClassVar[dict] = {
        **Recipe.DEFAULTS,
        "epochs": 100,
        "batch_size": 16,
        "optimizer": "adam",
        "learning_rate": 2e-4,
        "learning_rate_schedule": "exponential",
        "learning_rate_decay": 1.0,
        "ema_momentum": 0.0,
        "learning_rate_warmup": 0,
        "gradient_clip_norm": 0.0,
        "horizontal_flip": False,
        "crop_margin": 0,
        "likelihood_epochs": 0,
        "sample_every": 5,
    }

    network: str | None = option("Network architecture, such as pixelcnnpp or gated_pixelcnn.")
    head: str | None = option(
        "Distribution of each pixel, such as logistic_mixture or categorical.", of_model=True
    )
    num_levels: int | None = option(
        "Number of levels to which the values of sub-pixels are quantized. From 257 on, images are "
        "16-bit gray files or uint16 arrays, whose values are the levels. With --codes, the number "
        "of codes.",
        min=2,
        max=4096,
        of_model=True,
    )
    codes: bool | None = option(
        "The values of an .npz file are codes without an order, such as those of a VQ-VAE. "
        "Needs --num-levels."
    )
    filters: str | None = option(
        "Number of filters, or one number per resolution: 24,48,96.",
        callback=numbers,
        of_model=True,
    )
    num_blocks: str | None = option(
        "Number of blocks at each resolution, or one number per resolution: 2,1,1.",
        callback=numbers,
        of_model=True,
    )
    num_resolutions: int | None = option(
        "Number of resolutions; each has half the height and width of the previous.", of_model=True
    )
    num_mixtures: int | None = option(
        "Number of components of the logistic mixture.", of_model=True
    )
    dropout_rate: float | None = option("Dropout rate, in [0, 1).", of_model=True)
    conditioning: str | None = option(
        "How the label conditions the network: none, or a strategy such as bias or film. A + "
        "joins several, as in bias+film.",
        of_model=True,
    )
    conditioned_blocks: str | None = option(
        "Blocks conditioned on the label: all, up, or up_horizontal (fastest).", of_model=True
    )
    label_loss_weight: float | None = option(
        "Weight of the cross-entropy of the class posterior, in nats.", min=0, of_model=True
    )
    num_candidates: int | None = option(
        "Number of candidate labels per image, at most the number of classes.", min=2, of_model=True
    )
    unlabeled_weight: float | None = option(
        "Weight of the loss of unlabeled images; 0 to leave them out.", min=0, of_model=True
    )
    initial_logit_scale: float | None = option(
        "Initial factor of the log-likelihoods in the class posterior.", min=0, of_model=True
    )
    learn_logit_scale: bool | None = option("Learn the logit scale.", of_model=True)
    learn_class_bias: bool | None = option("Learn a bias for each class.", of_model=True)
    initial_weights: str | None = option(
        "Weights to start from: a preset, a run folder or a .keras file. Default: random."
    )
    optimizer: Literal["adam", "muon"] | None = option(
        "adam, or muon: Muon for convolution kernels and Adam for all other weights.",
        of_preset=True,
    )
    likelihood_epochs: int | None = option(
        "Number of initial epochs without the cross-entropy. Default: the preset's fraction of "
        "--epochs; 0 with --unlabeled-weight.",
        min=0,
        of_preset=True,
    )
    learning_rate_schedule: Literal["exponential", "cosine"] | None = option(
        "exponential: multiply by a factor per step. cosine: decay to 1% of the peak.",
        of_preset=True,
    )
    learning_rate_decay: float | None = option(
        "Factor per step of the exponential schedule, which it selects if no schedule is given.",
        min=0,
        max=1,
        of_preset=True,
    )
    learning_rate_warmup: int | None = option(
        "Number of warmup steps, at the start and after --likelihood-epochs; at most a tenth of "
        "all steps.",
        min=0,
        of_preset=True,
    )
    sample_every: int | None = option(
        "Number of epochs between sample grids in TensorBoard; 0 for none.", min=0
    )

    def model_arguments(self) -> dict[str, Any]:
        """Returns the arguments of the model that are set, without those of the data."""
        return self.values(self.names("of_model"))

    @classmethod
    def check_preset(cls, place: str, values: dict, file: Path) -> None:
        """Raises a `UserError` unless a file of a preset has only options of a place.

        A preset may come from somebody else. It decides on the mathematics of a training, but not
        on code, files and the machine.
        """
        names = cls.names(place)
        for name in values.keys() - set(names):
            raise UserError(
                f"{file}: {name} is not an option that a preset may set. Expected some of: "
                f"{', '.join(names)}"
            )
        cls.of(values)

    def values_read(self) -> dict[str, Any]:
        if self.codes and self.num_levels is None:
            raise UserError("Missing option --num-levels: the number of codes, for --codes")
        return how_to_read(self.num_levels or 256, bool(self.codes))

    def without_order(self) -> Self:
        """Returns this recipe without what codes lack: its levels, their order, mirror images."""
        return replace(self, num_levels=None, head=None, horizontal_flip=None, white_level=None)

    def loading(self) -> dict[str, Any]:
        # An unconditional model does not need the classes of the images that it is evaluated on.
        return {**super().loading(), "unlabeled_others": self.conditioning == "none"}

    def with_epochs(self, epochs: int) -> Self:
        """Returns the recipe for another number of epochs.

        The epochs on the likelihood alone keep their fraction, or without `epochs`, their number.
        """
        first, of = self.likelihood_epochs or 0, self.epochs or epochs
        return replace(self, epochs=epochs, likelihood_epochs=min(first * epochs // of, epochs))

    def for_data(
        self,
        preset: "PixelCNNRecipe",
        num_classes: int,
        from_files: bool = True,
        needs_values: bool = False,
    ) -> Self:
        """Returns this recipe, completed by a preset and the defaults, and adapted to the data.

        Cross-entropy, candidates and crops (which need image files) of the preset are dropped if
        they do not apply to the data; those of this recipe are an error instead. The epochs on the
        likelihood alone keep their fraction, and are left out if unlabeled images contribute to the
        loss. Images with vectors or maps (`needs_values`) and without labels are trained on the
        likelihood.
        """
        preset = preset.with_defaults()
        if self.epochs is not None:
            preset = preset.with_epochs(self.epochs)
        dropped: dict[str, Any] = {}
        if self.learning_rate_decay is not None:
            dropped["learning_rate_schedule"] = "exponential"
        if self.over(preset).unlabeled_weight:
            dropped |= {"likelihood_epochs": 0, "num_candidates": None}
        if needs_values and preset.conditioning == "none":
            dropped["conditioning"] = None  # the model's default
        if needs_values and num_classes < 2 and self.conditioning != "none":
            fixed = {"likelihood_epochs": 0, "label_loss_weight": 0.0, "num_candidates": None}
            fixed |= {"unlabeled_weight": None}
            fixed |= {} if from_files else {"crop_margin": 0}
            return self.over(replace(preset, **{**dropped, **fixed}))
        if num_classes < 2:
            dropped |= {"conditioning": "none", "label_loss_weight": 0.0}
        if (self.conditioning or {**vars(preset), **dropped}["conditioning"]) == "none":
            num_classes = 0
            dropped["label_loss_weight"] = 0.0
        if not from_files:
            dropped["crop_margin"] = 0
        recipe = self.over(replace(preset, **dropped))
        for name in ("conditioning", "label_loss_weight") if num_classes < 2 else ():
            if (value := getattr(recipe, name)) and value != "none":
                raise UserError(
                    f"Invalid value for option `{name}`. It needs at least two classes and a "
                    f"--conditioning other than none. Received: {name}={value}"
                )
        return recipe


@dataclass(frozen=True, kw_only=True)
class BaselineRecipe(Recipe):
    """A recipe of the baseline CNN, which is trained with Muon and a cosine schedule."""

    section = "baseline"
    DEFAULTS: ClassVar[dict] = {
        **Recipe.DEFAULTS,
        "epochs": 25,
        "batch_size": 64,
        "learning_rate": 2e-2,
        "ema_momentum": 0.99,
        "gradient_clip_norm": 0.0,
        "weight_decay": 0.02,
    }

    weight_decay: float | None = option("Weight decay of the kernels.", min=0)

    def of_optimizer(self, steps: int) -> dict[str, Any]:
        """Returns the options as `Recipe` does; the learning rate rises for 1/20 of the steps."""
        fixed = {"optimizer": "muon", "learning_rate_schedule": "cosine"}
        return {**self.values(), **fixed, "learning_rate_warmup": steps // 20}


RECIPES: dict[str, Any] = {"pixelcnnpp": PixelCNNRecipe, "baseline": BaselineRecipe}


def recipe_of_run(config: dict, section: str) -> Any:
    """Returns the recipe of a model in the `config.json` of its run.

    If the run does not have this model yet, the recipe only selects the images that the run's other
    model was trained on.
    """
    data = config["data"]
    height, width, _ = data["image_shape"]
    values = {
        "data": data["source"],
        "image_size": height if height == width else None,
        "channels": data.get("channels"),
        "resize": "stretch" if data.get("resize") == "stretch" else None,
        "random_crops": True if data.get("resize") == "crop" else None,
        "skip_corrupted": data.get("skip_corrupted") or None,
        "white_level": data.get("white_level"),
        "split_seed": data.get("split_seed") or None,
        "vectors": data.get("vectors") or ",".join(data.get("vector_names", ())) or None,
    }
    options = {name: config[name]["options"] for name in RECIPES if name in config}
    if section not in options:
        chosen = [one for one in options.values() if one.get("max_examples")]
        options = {section: {n: one.get(n) for one in chosen for n in ("max_examples", "seed")}}
    return RECIPES[section].of({**options[section], **values})


def require_format(stored: dict, file: Path) -> None:
    """Raises a `UserError` if a preset or the section of a run has another format."""
    if (received := stored.get("format", FORMAT)) != FORMAT:
        raise UserError(
            f"{file} was written by another version of keras-pixelcnnpp. Expected the format "
            f"{FORMAT}. Received: {received!r:.80}"
        )
