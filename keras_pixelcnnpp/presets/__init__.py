"""Presets: folders with a configuration, and perhaps weights, their checksum and a card."""

import tempfile
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np

from keras_pixelcnnpp.errors import UserError, is_out_of_memory
from keras_pixelcnnpp.files import atomic_path, read_json, sha256, write_json

_BUILT_IN = Path(__file__).parent


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.parent.name for path in _BUILT_IN.glob("*/config.json"))


def default_preset(data: str, architecture: str | None = None) -> str:
    """The preset whose recipe, not its weights, suits `--data`, and `--architecture` if given.

    Images without a preset of their own are taken for photographs.
    """
    if architecture in preset_names():
        return architecture
    return data if data in ("digits", "fashion_mnist", "mnist") else "cpen455"


def load_preset_config(name: str | Path) -> dict:
    """Returns a preset's configuration: `{"architecture", "model": {...}, "training": {...}}`.

    Args:
        name: Name of a built-in preset, or path of a folder that `save_to_preset` wrote.

    Raises:
        UserError: If there is no such preset, or its file is damaged.
    """
    return PresetFolder.find(name).config()


def likelihood_epochs(training: dict, epochs: int) -> int:
    """How many of so many epochs are by likelihood alone: as large a share as the preset's.

    Args:
        training: The section `training` of a preset. Without `epochs` there is no share:
            `likelihood_epochs` is taken as it is.
        epochs: How many there shall be instead of the preset's.

    Raises:
        UserError: If the preset's numbers are no numbers of epochs.
    """
    first, of = training.get("likelihood_epochs", 0), training.get("epochs", epochs)
    if not (isinstance(first, int) and isinstance(of, int) and of > 0 and first >= 0):
        raise UserError(
            "Invalid preset. Expected whole numbers, epochs of at least 1 and likelihood_epochs "
            f"of at least 0. Received: epochs={of!r}, likelihood_epochs={first!r}"
        )
    return min(first * epochs // of, epochs)


class PresetFolder:
    """The files of a preset: `config.json`, `model.weights.h5`, `metadata.json`, `README.md`.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.weights_path = self.path / "model.weights.h5"

    @classmethod
    def find(cls, name: str | Path) -> "PresetFolder":
        """The folder of a built-in preset, or the folder `name` itself."""
        if name in preset_names():
            return cls(_BUILT_IN / name)
        if Path(name, "config.json").is_file():
            return cls(name)
        raise UserError(
            f"Unknown preset. Expected one of: {', '.join(preset_names())}; or a folder with a "
            f"config.json. Received: {str(name)!r}"
        )

    def config(self) -> dict:
        """Reads `config.json`; raises a `UserError` if it is damaged."""
        config = read_json(self.path / "config.json")
        for section in ("model", "training"):
            if not isinstance(config.get(section), dict):
                raise UserError(f"{self.path / 'config.json'}: the section {section!r} is missing")
        return {"architecture": "pixelcnnpp", **config}

    @property
    def architecture(self) -> str:
        """Of which model of the family it is: `"pixelcnnpp"` unless it says otherwise."""
        return self.config()["architecture"]

    def metadata(self) -> dict:
        """Reads `metadata.json`, the facts about the weights; empty where there are none."""
        return read_json(self.path / "metadata.json") if self.has_weights else {}

    @property
    def has_weights(self) -> bool:
        """Whether the preset is a trained one."""
        return self.weights_path.is_file()

    def make(self, cls: type, **replaced) -> keras.Model:
        """A model of the class `cls` with the preset's arguments, some of them replaced.

        Raises:
            UserError: If no model can be made of them.
        """
        try:
            return cls(**{**self.config()["model"], **replaced})
        # An unknown argument, or a value of the wrong type or size.
        except (TypeError, ValueError, OverflowError) as error:
            message = " ".join(str(error).split())
            raise UserError(f"{self.path}: no model can be made of this: {message}") from error

    def load_weights(self, model: keras.Model, **replaced) -> None:
        """Loads the weights into a model that `make` made with the arguments `replaced`.

        Into a model of another number of classes go all but those of the labels; a warning names
        what is left as it was.

        Raises:
            UserError: If there are no weights, or the checksum or the shapes don't match.
        """
        num_classes = self.config()["model"].get("num_classes")
        if model.num_classes == num_classes:
            self._load_all_weights(model)
            return
        trained = self.make(type(model), **{**replaced, "num_classes": num_classes})
        self._load_all_weights(trained)
        values, left = _weights_by_name(trained), []
        for name, weight in _weights_by_name(model).items():
            if name in values and values[name].shape == weight.shape:
                weight.assign(values[name])
            else:
                left.append(name)
        warnings.warn(
            f"The weights are those of a model of {num_classes} classes. Not taken, since they "
            f"belong to its labels, and to be trained: {', '.join(left)}",
            stacklevel=3,
        )

    def _load_all_weights(self, model):
        if not self.has_weights:
            raise UserError(f"{self.path}: a preset without weights")
        expected = self.metadata().get("sha256")
        received = sha256(self.weights_path)
        if received != expected:
            raise UserError(
                f"{self.weights_path}: the weights are damaged. Expected sha256={expected}. "
                f"Received: sha256={received}"
            )
        try:
            with warnings.catch_warnings():
                # Keras leaves a layer that the file lacks as it is, and warns.
                warnings.simplefilter("error", UserWarning)
                model.load_weights(self.weights_path)
        # Anything: the checksum tells damage from intent, not a good file from a hostile one.
        except Exception as error:
            if is_out_of_memory(error):
                raise
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{self.weights_path}: not the weights of this model: {first_line}"
            ) from error

    def write(self, model: keras.Model, config: dict, metadata: dict) -> None:
        """Writes configuration, weights and metadata, each under a temporary name first.

        Weights that are numbers of half precision are stored in half the bytes.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.weights_path) as temporary, tempfile.TemporaryDirectory() as folder:
            whole = Path(folder, temporary.name)
            model.save_weights(whole)
            _halve_without_loss(whole, temporary)
        write_json(self.path / "config.json", config)
        write_json(self.path / "metadata.json", {**metadata, "sha256": sha256(self.weights_path)})


def _halve_without_loss(source, target):
    """Copies an HDF5 file; arrays whose numbers are all of half precision become float16."""

    def copy(name, item):
        if isinstance(item, h5py.Group):
            new.require_group(name).attrs.update(item.attrs)
            return
        values = item[()]
        if values.dtype == "float32":
            with np.errstate(over="ignore"):
                half = values.astype("float16")
            values = half if np.array_equal(half.astype("float32"), values) else values
        new.create_dataset(name, data=values).attrs.update(item.attrs)

    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new.attrs.update(old.attrs)
        old.visititems(copy)


def _weights_by_name(model):
    # A path begins with the name of the model.
    return {weight.path.split("/", 1)[1]: weight for weight in model.weights}
