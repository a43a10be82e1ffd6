"""The autoregressive models by name, and safe loading of models from untrusted `.keras` files."""

import json
from pathlib import Path
from zipfile import ZipFile

import keras

from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.image_model import ImageModel
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.presets import copy_weights
from keras_pixelcnnpp.utils.errors import UserError, as_user_error, say

NETWORKS = {model.network_name: model for model in (PixelCNNPlusPlus, GatedPixelCNN, PixelCNN)}


def load_trained_model(path: str | Path, kind: type = AutoregressiveModel) -> ImageModel:
    """Loads a model that this package saved, without its optimizer.

    Other classes are rejected before anything is made of them. Arguments of a model are no layers,
    so a layer that contains code (a `Lambda` layer) is rejected as an argument, and its code does
    not run. Keras's safe mode, which refuses such layers, is on, too. A compressed archive is
    rejected.

    Args:
        path: The `.keras` file.
        kind: Expected base class, `AutoregressiveModel` or `BaselineCNN`.

    Raises:
        UserError: If the file is damaged or unsafe, or contains another kind of model.
    """
    # A damaged archive fails in the reader for zip, JSON or HDF5, or in a constructor.
    with as_user_error(f"{path} cannot be loaded as a model"):
        _require_model(path, kind)
        # The default, which only `keras.config.enable_unsafe_deserialization` changes.
        return keras.models.load_model(path, compile=False, safe_mode=True)


def _require_model(path: str | Path, kind: type) -> None:
    """Raises an error for another class, or a compressed archive, before anything is loaded."""
    # Keras reads files of other names in other formats.
    if Path(path).suffix != ".keras":
        raise ValueError("expected a file whose name ends with .keras")
    with ZipFile(path) as archive:
        # Keras does not compress archives, so content that is larger than the file is forged.
        size = sum(entry.file_size for entry in archive.infolist())
        if size > Path(path).stat().st_size:
            raise ValueError(f"it would unpack to {size:,} bytes, more than its size")
        with archive.open("config.json") as file:
            config = json.loads(file.read(1 << 20))  # usually a few hundred bytes
    name = config["class_name"]
    found = keras.saving.get_registered_object(config["registered_name"])
    # For some class names, such as "function", Keras ignores the registered name.
    if not (isinstance(found, type) and issubclass(found, kind) and found.__name__ == name):
        expected = "PixelCNN" if kind is AutoregressiveModel else kind.__name__
        raise TypeError(f"it contains a {name}, not a {expected}")


def copy_initial_weights(source: str, model: AutoregressiveModel) -> None:
    """Copies all weights of a trained model, also logit scale and class biases, into `model`.

    `source` is a preset with weights (its name or folder), a `.keras` file, or the folder of a run.
    """
    if (Path(source) / "model.keras").is_file():  # the folder of a run
        source = str(Path(source) / "model.keras")
    if Path(source).is_file():
        trained = load_trained_model(source)
    else:
        trained = AutoregressiveModel.from_preset(source)
    for name in ("network_name", "image_shape", "num_classes", *model.arguments_of_network()):
        expected, received = getattr(model, name), getattr(trained, name, None)
        if received != expected:
            raise UserError(
                "Invalid value for option `initial_weights`. Expected the weights of a model with "
                f"{name}={expected}. Received: {source}, with {name}={received}"
            )
    kinds = [[part.kind for part in one.conditions] for one in (model, trained)]
    if kinds[0] != kinds[1]:
        raise UserError(
            "Invalid value for option `initial_weights`. Expected the weights of a model of "
            f"{model.conditions.description}. Received: {source}, a model of "
            f"{trained.conditions.description}"
        )
    if trained.conditions.names != model.conditions.names:
        say(
            f"Note: the names differ. Those of {source} ({', '.join(trained.conditions.names)}) "
            f"are used, in this order, for: {', '.join(model.conditions.names)}."
        )
    if left := copy_weights(trained, model):
        raise UserError(
            "Invalid value for option `initial_weights`. Expected all weights of a model of "
            f"{model.conditions.description}. Received: {source}, which lacks {len(left)} arrays, "
            f"such as {left[0]}. Maps of another shape, or of codes, have other weights"
        )
