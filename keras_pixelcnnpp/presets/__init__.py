"""Presets: folders with the arguments, training options and optional weights of a model."""

import warnings
from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.presets import hub
from keras_pixelcnnpp.recipes.existing import (
    BUILT_IN_PRESETS,
    SCHEME,
    preset_folder,
    preset_names,
    require_preset,
)
from keras_pixelcnnpp.recipes.recipe import (
    FORMAT,
    OF_THE_DATA,
    PixelCNNRecipe,
    require_format,
)
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import argument_names
from keras_pixelcnnpp.utils.errors import UserError, as_user_error
from keras_pixelcnnpp.utils.files import atomic_files, read_json, sha256, write_bytes, write_json


class Preset:
    """Reads the folder of a preset, and creates its model.

    `config.json` is a model in the format of `keras.saving.serialize_keras_object`; only its class
    and arguments are used. `metadata.json` has all training options as `"training"`. For presets
    with weights, it also has their checksum, results and the recommended `guidance`. Training
    options are those of the mathematics, `PixelCNNRecipe.names("of_preset")`; others are errors.

    Args:
        name: Name of a built-in preset, path of a folder written by `save_to_preset`, or
            `"hf://USER/NAME"`, a repository of the Hugging Face Hub.

    Attributes:
        model_class, arguments: Class of the model, `None` if unknown, and its arguments, a dict.
        metadata, training: Dicts, the content of `metadata.json` and its training options.
        has_weights: Boolean, whether the preset has weights.

    Raises:
        UserError: If the preset is unknown, or its files are damaged.
    """

    def __init__(self, name: str | Path):
        self.name = str(name)
        is_on_hub = self.name.startswith(SCHEME)
        self.path = hub.download(self.name) if is_on_hub else preset_folder(name)
        require_preset(self.name, self.path)
        self.weights_path = self.path / "model.weights.h5"
        self.has_weights = self.weights_path.is_file()
        config, facts = read_json(self.path / "config.json"), self.path / "metadata.json"
        if "data" in config:
            raise UserError(
                f"Expected a preset. Received: {self.name}, the folder of a run. Use it with --run "
                f"or --initial-weights, or call keras.models.load_model('{self.name}/model.keras')"
            )
        self.metadata = {"training": {}, **(read_json(facts) if facts.exists() else {})}
        self.training, self.arguments = self.metadata["training"], config.get("config")
        if not (isinstance(self.arguments, dict) and isinstance(self.training, dict)):
            raise UserError(f"{self.path} is damaged: arguments or training options are missing")
        require_format(self.metadata, facts)
        PixelCNNRecipe.check_preset("of_preset", self.training, facts)
        registered = str(config.get("registered_name"))
        self.model_class = keras.saving.get_registered_object(registered)

    def is_of(self, base: type) -> bool:
        """Returns whether the model's class is `base` or a subclass."""
        return isinstance(self.model_class, type) and issubclass(self.model_class, base)

    def recipe(self) -> PixelCNNRecipe:
        """Returns the training options and the arguments of the model, for `pixelcnnpp train`."""
        codes = None if self.arguments.get("ordered_levels", True) else True
        arguments = {name: v for name, v in self.arguments.items() if name not in OF_THE_DATA}
        PixelCNNRecipe.check_preset("of_model", arguments, self.path / "config.json")
        network = getattr(self.model_class, "network_name", None)
        return PixelCNNRecipe.of({**arguments, "codes": codes, "network": network, **self.training})

    def make(self, base: type, **replaced: Any) -> keras.Model:
        """Creates a model with the preset's class and arguments, some of which may be replaced.

        Raises:
            UserError: If the class is not `base` or a subclass, or the arguments are invalid.
        """
        kind, arguments = self.model_class, dict(self.arguments)
        if not self.is_of(base):
            name = getattr(kind, "__name__", "a class that isn't registered with Keras")
            raise UserError(
                f"Invalid preset for {base.__name__}. Expected a preset of this class. "
                f"Received: {self.name}, a preset of {name}"
            )
        if "num_classes" in replaced and replaced["num_classes"] != arguments.get("num_classes"):
            arguments.pop("class_names", None)
        if "conditions" in replaced:
            arguments = {
                k: v for k, v in arguments.items() if k not in ("num_classes", "class_names")
            }
        given = f" with {', '.join(replaced)}" if replaced else ""
        with as_user_error(f"No model can be created from the preset {self.name}{given}"):
            # Arguments of `keras.Model` may be objects that Keras would deserialize.
            if unknown := arguments.keys() - argument_names(kind):
                raise TypeError(f"unknown arguments: {', '.join(unknown)}")
            return kind(**{**arguments, **replaced})

    def load_weights(self, model: keras.Model, **replaced: Any) -> None:
        """Loads the weights into a model that `make` created with the arguments `replaced`.

        If the number of classes differs, the weights of the labels keep their initial values. If
        only the names differ, all weights are loaded. A warning says so in both cases.

        Raises:
            UserError: If the preset has no weights, their checksum is wrong, or they don't fit the
                model.
        """
        trained = self.make(type(model)) if replaced else model
        self._load_all_weights(trained)
        needed, given = trained.arguments_of_network(), model.arguments_of_network()
        wrong = [name for name, value in needed.items() if given[name] != value]
        if model.image_shape[-1] != trained.image_shape[-1]:
            wrong.append("image_shape")
        if wrong:
            expected, received = (
                ", ".join(f"{name}={getattr(one, name)}" for name in wrong)
                for one in (trained, model)
            )
            raise UserError(
                f"The weights of the preset {self.name} need a model with {expected}. Received: "
                f"{received}. With load_weights=False, the model has random weights."
            )
        if left := copy_weights(trained, model):
            warnings.warn(
                f"The weights come from a model with {trained.conditions.description}. Those of "
                f"the condition, {len(left)} arrays such as {left[0]}, must be trained.",
                stacklevel=3,
            )
        elif model.conditions.names != trained.conditions.names:
            warnings.warn(
                "The names differ. The weights are used in the order of: "
                f"{', '.join(trained.conditions.names)}. Train the model for other classes.",
                stacklevel=3,
            )

    def _load_all_weights(self, model: keras.Model) -> None:
        self._require_file()
        # The checksum detects damage, but not a malicious file.
        refusal = as_user_error(f"{self.weights_path}: not the weights of this model")
        with refusal, warnings.catch_warnings():
            # If a layer is missing in the file, Keras only warns.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(self.weights_path)

    def _require_file(self) -> None:
        is_built_in = self.path.parent == BUILT_IN_PRESETS
        if not self.has_weights and is_built_in and "sha256" in self.metadata:
            raise UserError(
                f"The weights of the preset {self.path.name} are not in the installed package, "
                "because the license of its training images is not known. They are in the "
                f"repository {hub.REPOSITORY}: use the path of its folder "
                f"keras_pixelcnnpp/presets/{self.path.name} as the preset."
            )
        if not self.has_weights:
            name = self.path.name if is_built_in else self.name
            raise UserError(
                f"{name} is a preset without weights. Train a model with it first. In Python, "
                "load_weights=False creates an untrained model."
            )
        expected = self.metadata.get("sha256")
        received = sha256(self.weights_path)
        if received != expected:
            raise UserError(
                f"{self.weights_path}: the weights are damaged. Expected sha256={expected}. "
                f"Received: sha256={received}"
            )


def copy_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Copies the weights of a model into another model with the same layers.

    Returns the paths of the weights of `target` that were not, or only partly, copied: those of the
    labels, if the numbers of classes differ.

    Raises:
        UserError: If the target has other bounds of vectors or maps, or their names in another
            order. The weights hold for the source's only.
    """

    def by_path(model: keras.Model) -> dict[str, keras.Variable]:
        return {weight.path.removeprefix(f"{model.name}/"): weight for weight in model.weights}

    target.encoder.require_same_scale(source.encoder)
    values, targets, left, gains = by_path(source), by_path(target), [], {}
    for path, new in targets.items():
        old = values.get(path)
        if old is None:  # a layer that encodes the condition
            left.append(path)
            continue
        if old.shape == new.shape:
            new.assign(old)
            continue
        left.append(path)
        if new.name == "direction":
            # The last input channels of this convolution are the one-hot encoding of the label.
            pixels = old.shape[2] - source.conditions.code_size
            parts = old.value[:, :, :pixels], new.value[:, :, pixels:]
            new.assign(ops.concatenate(parts, axis=2))
            # The gain keeps the pixels' part of the kernel, which is divided by the whole norm.
            gain = path.removesuffix("direction") + "gain"
            factor = ops.norm(_columns(new), axis=0) / ops.norm(_columns(old), axis=0)
            gains[gain] = values[gain] * ops.reshape(factor, values[gain].shape)
    for path, gain in gains.items():
        targets[path].assign(gain)
    return left


def _columns(kernel: keras.Variable) -> Tensor:
    """Returns a kernel as a matrix with a column for each output channel."""
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


def write_preset(path: str | Path, model: keras.Model, metadata: dict) -> None:
    """Writes a preset with weights. Its files are replaced together, and a model card is kept."""
    if str(path) in preset_names():
        raise UserError(f"{path} is the name of a built-in preset. Save the preset as another name")
    path = Path(path)
    training = metadata.get("training", {})
    PixelCNNRecipe.check_preset("of_preset", training, path / "metadata.json")
    recipe = PixelCNNRecipe.of(training).with_defaults()
    metadata = {**metadata, "format": FORMAT, "training": recipe.values(recipe.names("of_preset"))}
    if (path / "config.json").is_file() and "data" in read_json(path / "config.json"):
        raise UserError(f"{path} is the folder of a run. Save the preset in another folder")
    config = keras.saving.serialize_keras_object(model)
    config = {name: config[name] for name in ("module", "class_name", "registered_name")}
    with atomic_files(path) as folder:
        weights = folder / "model.weights.h5"
        model.save_weights(weights)
        write_json(folder / "config.json", {**config, "config": model.arguments()})
        write_json(folder / "metadata.json", {**metadata, "sha256": sha256(weights)})
        if not (path / "README.md").exists():
            write_bytes(folder / "README.md", hub.card(path.resolve().name, model).encode())


def upload_preset(uri: str, preset: str | Path) -> None:
    """Uploads a preset to the Hugging Face Hub.

    This needs the extra `hub`, and a login with `hf auth login`.

    Args:
        uri: `"hf://USER/NAME"`. A new repository is public.
        preset: Folder written by `save_to_preset`. Other files in it are not uploaded.

    Raises:
        UserError: If the folder is not a preset, or the upload fails.

    Example:

    ```python
    model.save_to_preset("my_model")
    keras_pixelcnnpp.upload_preset("hf://user/my_model", "my_model")
    ```
    """
    hub.upload(uri, Preset(Path(preset)).path)
