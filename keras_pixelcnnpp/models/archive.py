"""Loading a `.keras` file that is not trusted."""

from pathlib import Path

import keras
from keras import ops

from keras_pixelcnnpp.errors import UserError, is_out_of_memory
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus


def load_trained_model(path: str | Path, kind: type):
    """Loads a model that this package saved, without its optimizer, and nothing else.

    Keras's safe mode refuses archives that carry code (a `Lambda` layer) and archives that unpack
    to far more than their size.

    Args:
        path: The `.keras` file.
        kind: `PixelCNNPlusPlus` or `BaselineCNN`.

    Returns:
        A model of that class.

    Raises:
        UserError: If the file is damaged, unsafe, or holds another kind of model; one line that
            names it.

    Example:

    ```python
    model = load_trained_model("runs/digits/model.keras", PixelCNNPlusPlus)
    ```
    """
    try:
        # The default, written out: only `keras.config.enable_unsafe_deserialization` lifts it.
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    # Anything: a damaged archive fails in the zip, JSON, HDF5 reader or in a constructor.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be loaded as a model: {message[:300]}") from error
    if not isinstance(model, kind):
        raise UserError(f"{path} holds a {type(model).__name__}, not a {kind.__name__}")
    return model


ARCHITECTURE = (
    "image_shape",
    "num_classes",
    "num_levels",
    "filters",
    "num_blocks",
    "num_resolutions",
    "num_mixtures",
    "conditioning",
    "conditioned_blocks",
)


def copy_initial_weights(source: str, model: PixelCNNPlusPlus) -> None:
    """Gives a built model the weights of a trained one, its temperature and offsets included.

    Args:
        source: Name or folder of a preset with weights, or a `.keras` file.
        model: The model; its weights are replaced, its optimizer stays as it is.

    Raises:
        UserError: If there is no such source, or its model has weights of other shapes.

    Example:

    ```python
    copy_initial_weights("cpen455", model)
    ```
    """
    if Path(source).is_file():
        trained = load_trained_model(source, PixelCNNPlusPlus)
    else:
        trained = PixelCNNPlusPlus.from_preset(source, load_weights=True)
    for name in ARCHITECTURE:
        expected, received = getattr(model, name), getattr(trained, name)
        if received != expected:
            raise UserError(
                "Invalid value for option `initial_weights`. Expected the weights of a model with "
                f"{name}={expected}. Received: {source}, with {name}={received}"
            )
    model.network.set_weights(trained.network.get_weights())
    for name in ("log_temperature", "offsets"):
        weights = ops.convert_to_numpy(getattr(trained.posterior, name))
        getattr(model.posterior, name).assign(weights)
