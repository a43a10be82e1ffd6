"""Weights that a training starts from."""

from pathlib import Path

from keras import ops

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.models.trained_model import load_trained_model

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
