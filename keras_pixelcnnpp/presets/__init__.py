"""Presets: folders with a model's arguments and training options, and perhaps its weights."""

import warnings
from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.checks import argument_names, arguments_of, require_integer
from keras_pixelcnnpp.errors import UserError, as_user_error
from keras_pixelcnnpp.files import atomic_path, read_json, sha256, write_bytes, write_json
from keras_pixelcnnpp.presets import hub

_BUILT_IN = Path(__file__).parent
# What weights are made for, beside the size of the images and the classes.
OF_THE_NETWORK = (
    *("num_levels", "filters", "num_blocks", "num_resolutions", "num_mixtures", "head"),
    *("conditioning", "conditioned_blocks"),
)


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.parent.name for path in _BUILT_IN.glob("*/config.json"))


def likelihood_epochs(training: dict, epochs: int) -> int:
    """How many of so many epochs are on the likelihood alone: as large a share as a preset's.

    Of training options without `epochs`, their `likelihood_epochs`.
    """
    first, of = training.get("likelihood_epochs", 0), training.get("epochs", epochs)
    require_integer("likelihood_epochs", first, low=0)
    require_integer("epochs", of)
    return min(first * epochs // of, epochs)


class Preset:
    """What is in the folder of a preset.

    `config.json` is a model as `keras.saving.serialize_keras_object` writes it, of which the class
    and the arguments count; `metadata.json` has the options of its training as `"training"`, and
    with weights what was measured, the recommended `guidance` and their checksum. Name and
    precision of a model are those of whoever loads it.

    Args:
        name: Name of a built-in preset, path of a folder that `save_to_preset` wrote, or
            `"hf://USER/NAME"` of the Hugging Face Hub.

    Attributes:
        model_class, arguments: What its model is made of. The class is registered with Keras.
        metadata, training: The content of `metadata.json`, and the options of the training in it.
        has_weights: Whether it is a trained one.

    Raises:
        UserError: If there is no such preset, or its files are damaged.
    """

    def __init__(self, name: str | Path):
        self.name = str(name)
        if self.name.startswith(hub.SCHEME):
            self.path = hub.download(self.name)
        else:
            self.path = _BUILT_IN / name if name in preset_names() else Path(name)
        if not (self.path / "config.json").is_file():
            raise UserError(
                f"Unknown preset. Expected one of: {', '.join(preset_names())}; or a folder with a "
                f"config.json, here or on the Hugging Face Hub. Received: {self.name!r}"
            )
        self.weights_path = self.path / "model.weights.h5"
        self.has_weights = self.weights_path.is_file()
        config, facts = read_json(self.path / "config.json"), self.path / "metadata.json"
        if "data" in config:
            raise UserError(
                f"Expected a preset. Received: {self.name}, the folder of a run: give it as --run "
                f"or --initial-weights, or {self.name}/model.keras to keras.models.load_model"
            )
        self.metadata = {"training": {}, **(read_json(facts) if facts.exists() else {})}
        self.training, self.arguments = self.metadata["training"], config.get("config")
        if not (isinstance(self.arguments, dict) and isinstance(self.training, dict)):
            raise UserError(f"{self.path} is damaged: the arguments or the training are missing")
        registered = str(config.get("registered_name"))
        self.model_class = keras.saving.get_registered_object(registered)

    def is_of(self, base: type) -> bool:
        """Whether its model is of the class `base`, or of a subclass."""
        return isinstance(self.model_class, type) and issubclass(self.model_class, base)

    def make(self, base: type, **replaced: Any) -> keras.Model:
        """A model of the preset's class and arguments, some of them replaced.

        Raises:
            UserError: If the class is not `base` or a subclass of it, or no model can be made.
        """
        kind, arguments = self.model_class, dict(self.arguments)
        if not self.is_of(base):
            name = getattr(kind, "__name__", "a class that isn't registered with Keras")
            raise UserError(
                f"Invalid preset for {base.__name__}. Expected one of that class. "
                f"Received: {self.name}, a preset of {name}"
            )
        if "num_classes" in replaced and replaced["num_classes"] != arguments.get("num_classes"):
            arguments.pop("class_names", None)  # of other classes
        given = f" with {', '.join(replaced)}" if replaced else ""
        with as_user_error(f"No model can be made of the preset {self.name}{given}"):
            # Those of `keras.Model` may be objects, which Keras would deserialize.
            if unknown := arguments.keys() - argument_names(kind):
                raise TypeError(f"unknown arguments: {', '.join(unknown)}")
            return kind(**{**arguments, **replaced})

    def load_weights(self, model: keras.Model, **replaced: Any) -> None:
        """Loads the weights into a model that `make` made with the arguments `replaced`.

        Into a model of another number of classes go all but those of the labels; a warning names
        what is left as it was.

        Raises:
            UserError: If there are no weights, the checksum doesn't match, or they aren't those of
                such a model.
        """
        trained = self.make(type(model)) if replaced else model
        self._load_all_weights(trained)
        wrong = [n for n in OF_THE_NETWORK if getattr(model, n, None) != getattr(trained, n, None)]
        if model.image_shape[-1] != trained.image_shape[-1]:
            wrong.append("image_shape")
        if wrong:
            expected, received = (
                ", ".join(f"{name}={getattr(one, name)}" for name in wrong)
                for one in (trained, model)
            )
            raise UserError(
                f"The weights of the preset {self.name} are those of a model of {expected}. "
                f"Received: {received}. With load_weights=False, the model has random weights."
            )
        if left := copy_weights(trained, model):
            warnings.warn(
                f"The weights are those of a model of {trained.num_classes} classes. Those of the "
                f"labels, {len(left)} arrays such as {left[0]}, are new, and to be trained.",
                stacklevel=3,
            )

    def _load_all_weights(self, model: keras.Model) -> None:
        is_built_in = self.path.parent == _BUILT_IN
        if not self.has_weights and is_built_in and "sha256" in self.metadata:
            raise UserError(
                f"The weights of the preset {self.path.name} are not in the installed package, "
                "since the license of the photographs behind them is not known. They are in its "
                f"repository, {hub.REPOSITORY}: give the path of its folder "
                f"keras_pixelcnnpp/presets/{self.path.name} as the preset."
            )
        if not self.has_weights:
            name = self.path.name if is_built_in else self.name
            raise UserError(
                f"{name} is a preset without weights. Train a model of it first; in Python, "
                "load_weights=False makes an untrained one."
            )
        expected = self.metadata.get("sha256")
        received = sha256(self.weights_path)
        if received != expected:
            raise UserError(
                f"{self.weights_path}: the weights are damaged. Expected sha256={expected}. "
                f"Received: sha256={received}"
            )
        # The checksum tells damage from intent, not a good file from a hostile one.
        refusal = as_user_error(f"{self.weights_path}: not the weights of this model")
        with refusal, warnings.catch_warnings():
            # Keras leaves a layer that the file lacks as it is, and warns.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(self.weights_path)


def copy_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Copies the weights of one model into another of the same layers, where the shapes are equal.

    Returns:
        The paths of the weights of `target` that were left as they were, wholly or in part: those
        of the labels, if the numbers of classes differ.
    """

    def by_path(model: keras.Model) -> dict[str, keras.Variable]:
        return {weight.path.removeprefix(f"{model.name}/"): weight for weight in model.weights}

    values, left = by_path(source), []
    for path, new in by_path(target).items():
        old = values[path]
        if old.shape == new.shape:
            new.assign(old)
            continue
        left.append(path)
        if new.name == "direction":
            # The kernel of a convolution whose last input channels are the label's one-hot code.
            pixels = old.shape[2] - source.num_classes
            parts = old.value[:, :, :pixels], new.value[:, :, pixels:]
            new.assign(ops.concatenate(parts, axis=2))
    return left


def write_preset(path: str | Path, model: keras.Model, metadata: dict) -> None:
    """Writes a preset with weights; each file under a temporary name first. A card is kept."""
    path = Path(path)
    with atomic_path(path / "model.weights.h5") as temporary:
        model.save_weights(temporary)
    config = keras.saving.serialize_keras_object(model)
    config = {name: config[name] for name in ("module", "class_name", "registered_name")}
    write_json(path / "config.json", {**config, "config": arguments_of(model)})
    checksum = sha256(path / "model.weights.h5")
    write_json(path / "metadata.json", {"training": {}, **metadata, "sha256": checksum})
    if not (path / "README.md").exists():
        write_bytes(path / "README.md", hub.card(path.resolve().name, model).encode())


def upload_preset(uri: str, preset: str | Path) -> None:
    """Uploads a preset to the Hugging Face Hub, with the extra `hub` and after `hf auth login`.

    Args:
        uri: `"hf://USER/NAME"`. A new repository is public.
        preset: Folder written by `save_to_preset`; what else lies there is not uploaded.

    Raises:
        UserError: If the folder is not a preset's, or the upload fails.

    Example:

    ```python
    model.save_to_preset("my_model")
    keras_pixelcnnpp.upload_preset("hf://user/my_model", "my_model")
    ```
    """
    hub.upload(uri, Preset(preset).path)
