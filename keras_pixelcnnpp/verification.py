"""Checks of a model whose network, head or conditioning strategy is a user's own."""

import numpy as np
from keras import ops

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel


def verify(model: AutoregressiveModel, seed: int = 0) -> None:
    """Checks that a model defines the distribution that it scores and samples by.

    - No pixel's distribution depends on that pixel or on later ones in raster order: each pixel of
      a random image is changed in turn.
    - The probabilities of the levels of a sub-pixel add up to 1.

    Call it for a model with a network, head or conditioning strategy of your own, before training.
    It evaluates the network once for each pixel of an image.

    Args:
        model: An `AutoregressiveModel`.
        seed: Integer, chooses the images and labels.

    Raises:
        ValueError: If a check fails; the message names it.

    Example:

    ```python
    keras_pixelcnnpp.conditioning.STRATEGIES["mine"] = MyConditioning
    verify(PixelCNNPlusPlus((8, 8, 1), num_classes=3, conditioning="mine"))
    ```
    """
    rng = np.random.default_rng(seed)
    values = np.linspace(0, 255, model.num_levels).round()
    image, other = rng.choice(values, (2, *model.image_shape))
    other = np.where(other == image, values[0] + values[-1] - image, other).astype("uint8")
    labels = rng.integers(0, model.num_classes, 1) if model.num_classes else None
    _require_causality(model, image.astype("uint8"), other, labels)
    _require_normalization(model, image.astype("uint8"), labels)


def _require_causality(model, image, other, labels):
    height, width, channels = model.image_shape
    before = _parameters(model, image[None], labels)[0]
    # A change of its scale is no dependence: sums of another order differ in the last bits.
    tolerance = 1e-4 * np.abs(before).max()
    for index in range(height * width):
        changed = image.reshape(-1, channels).copy()
        changed[index] = other.reshape(-1, channels)[index]
        after = _parameters(model, changed.reshape(1, *image.shape), labels)[0]
        last = index if model.network.groups > 1 else index + 1  # groups see their own pixel
        difference = np.abs(after - before).reshape(height * width, -1)[:last]
        if difference.size and difference.max() > tolerance:
            earlier = divmod(int(difference.max(axis=1).argmax()), width)
            raise UserError(
                "The model is not autoregressive. Expected the distribution of a pixel to depend "
                f"on earlier pixels only. Received: that of pixel {earlier} (row, column) changes "
                f"with pixel {divmod(index, width)}"
            )


def _require_normalization(model, image, labels):
    parameters = _parameters(model, image[None], labels)
    parameters = parameters.reshape(-1, parameters.shape[-1])
    pixels, earlier = image.reshape(-1, image.shape[-1]), []
    levels = np.rint(pixels * ((model.num_levels - 1) / 255)).astype("float32")
    for channel in range(image.shape[-1]):
        log_probs = model.distribution.level_log_probs(ops.convert_to_tensor(parameters), earlier)
        total = np.exp(ops.convert_to_numpy(log_probs).astype("float64")).sum(axis=-1)
        if np.abs(total - 1).max() > 1e-3:
            worst = total[np.abs(total - 1).argmax()]
            raise UserError(
                f"The head {model.head!r} is not normalized. Expected the probabilities of all "
                f"levels of a sub-pixel to add up to 1. Received: {worst:.6g} in channel {channel}"
            )
        earlier.append(ops.convert_to_tensor(levels[:, channel : channel + 1]))


def _parameters(model, images, labels):
    labels = None if labels is None else ops.convert_to_tensor(labels[:, None].astype("int32"))
    parameters = model.pixel_parameters(ops.convert_to_tensor(images), labels)
    return ops.convert_to_numpy(parameters)[:, 0]
