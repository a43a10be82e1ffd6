"""The models of the family by name, and loading one from a `.keras` file that is not trusted."""

import json
from pathlib import Path
from zipfile import ZipFile

import keras

from keras_pixelcnnpp.errors import UserError, as_user_error
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.image_model import ImageModel
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.presets import OF_THE_NETWORK, copy_weights

NETWORKS = {model.network_name: model for model in (PixelCNNPlusPlus, GatedPixelCNN, PixelCNN)}

# Bytes; the configuration of a model has some hundred.
_MAX_CONFIG_BYTES = 1 << 20


def load_trained_model(path: str | Path, kind: type = AutoregressiveModel) -> ImageModel:
    """Loads a model that this package saved, without its optimizer, and nothing else.

    Keras's safe mode refuses archives that carry code (a `Lambda` layer) and archives that unpack
    to far more than their size.

    Args:
        path: The `.keras` file.
        kind: `AutoregressiveModel`, whichever of the family it is, or `BaselineCNN`.

    Raises:
        UserError: If the file is damaged, unsafe, or holds another kind of model; one line that
            names it.
    """
    # A damaged archive fails in the zip, JSON, HDF5 reader or in a constructor.
    with as_user_error(f"{path} cannot be loaded as a model"):
        _require_class(path, kind)
        # The default, written out: only `keras.config.enable_unsafe_deserialization` lifts it.
        return keras.models.load_model(path, compile=False, safe_mode=True)


def _require_class(path: str | Path, kind: type) -> None:
    """Refuses an archive of another class by its name, before anything is made of its content."""
    with ZipFile(path) as archive, archive.open("config.json") as file:
        config = json.loads(file.read(_MAX_CONFIG_BYTES))
    name = config["class_name"]
    found = keras.saving.get_registered_object(config["registered_name"])
    # For some names, such as "function", Keras doesn't look at the registered one.
    if not (isinstance(found, type) and issubclass(found, kind) and found.__name__ == name):
        expected = "PixelCNN" if kind is AutoregressiveModel else kind.__name__
        raise TypeError(f"it holds a {name}, not a {expected}")


def copy_initial_weights(source: str, model: AutoregressiveModel) -> None:
    """Gives a built model the weights of a trained one, its logit scale and class biases included.

    `source` is a preset with weights, by name or folder, a `.keras` file or the folder of a run.
    """
    if (Path(source) / "model.keras").is_file():  # of a run
        source = str(Path(source) / "model.keras")
    if Path(source).is_file():
        trained = load_trained_model(source)
    else:
        trained = AutoregressiveModel.from_preset(source)
    for name in ("network_name", "image_shape", "num_classes", *OF_THE_NETWORK):
        expected, received = getattr(model, name, None), getattr(trained, name, None)
        if received != expected:
            raise UserError(
                "Invalid value for option `initial_weights`. Expected the weights of a model with "
                f"{name}={expected}. Received: {source}, with {name}={received}"
            )
    if trained.class_names != model.class_names:
        print(
            f"Note: the classes of {source} ({', '.join(trained.class_names)}) stand, in "
            f"this order, for those to be trained: {', '.join(model.class_names)}."
        )
    copy_weights(trained, model)
