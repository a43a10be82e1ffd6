"""Loading a `.keras` file that is not trusted."""

from pathlib import Path

import keras

from keras_pixelcnnpp.errors import UserError, is_out_of_memory


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
