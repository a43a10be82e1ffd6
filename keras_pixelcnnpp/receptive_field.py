"""The influence of every pixel of a picture on the distribution of one."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.checks import checked_images, checked_labels
from keras_pixelcnnpp.distributions.logistic_mixture import scale_to_unit


def pixel_influence(
    model,
    images: np.ndarray,
    labels: np.ndarray | None,
    targets: Sequence[tuple[int, int]],
    seed: int = 0,
) -> np.ndarray:
    """How much each pixel of a picture moves the distribution of a target pixel.

    It is the size of the gradient of a random combination of the parameters with respect to the
    picture, the sum over its channels, the mean over pictures. A random combination is 0 only for
    a pixel that is not seen at all (or whose influence is too small for float32); by
    construction that holds for the target itself and everything after it. (Where sub-pixels see
    the earlier ones of their pixel, the parameters are those of the first sub-pixel.)

    Args:
        model: An `AutoregressiveModel`, trained or not.
        images: uint8 levels `(count, height, width, channels)`: where the gradient is taken.
        labels: Int `(count,)`; `num_classes` means "no label". `None` for an unconditional model.
        targets: Pairs `(row, column)`.
        seed: Of the combinations.

    Returns:
        Float32 array `(len(targets), height, width)`: parameters per unit of the picture scaled to
        [-1, 1].

    Raises:
        ValueError: If pictures or labels don't fit the model.

    Example:

    ```python
    influence = pixel_influence(model, images, labels, [(16, 16)])
    np.count_nonzero(influence[0])      # the size of the receptive field
    ```

    Reference:
        Luo et al. 2016, Understanding the Effective Receptive Field in Deep Convolutional Neural
        Networks, https://arxiv.org/abs/1701.04128
    """
    images = checked_images(images, model.image_shape, model.num_levels)
    # All targets at once: one copy of the pictures for each.
    copies = np.concatenate([images] * len(targets))
    weights = _combinations(targets, len(images), model, seed)
    candidates = None
    if model.num_classes:
        labels = checked_labels(labels, len(images), model.num_labels)
        candidates = ops.convert_to_tensor(np.tile(labels, len(targets))[:, None], "int32")

    def combined(picture):
        parameters = model.network(ops.expand_dims(picture, 1), candidates, training=False)
        return ops.sum(weights * parameters[:, 0])

    scaled = ops.convert_to_numpy(scale_to_unit(copies, model.num_levels))
    gradient = np.abs(input_gradient(combined, scaled)).sum(axis=-1)
    return gradient.reshape(len(targets), len(images), *gradient.shape[1:]).mean(axis=1)


def typical_targets(height: int, width: int) -> list[tuple[int, int]]:
    """A few pixels that tell the story: upper middle, left, centre right, and the very last."""
    places = [
        (height // 3, width // 2),
        (height // 2, width // 8),
        (2 * height // 3, 2 * width // 3),
        (height - 1, width - 1),
    ]
    return list(dict.fromkeys(places))


def count_seen(influence: np.ndarray, target: tuple[int, int]) -> dict:
    """Counts what a target pixel sees.

    Args:
        influence: Float `(height, width)`, from `pixel_influence`.
        target: `(row, column)`.

    Returns:
        Integers: `earlier`, the pixels before the target in raster order, and `seen` of them;
        `later_seen`, how many of the others are seen, the target among them: 0, or the model is
        not causal; `blind_spot`, the earlier pixels that a stack of masked 3×3 convolutions never
        sees, however deep it is (above to the right, steeper than the diagonal), and
        `blind_spot_seen` of them.

    Reference:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, figure 1,
        https://arxiv.org/abs/1606.05328
    """
    row, column = target
    rows, columns = np.indices(influence.shape)
    earlier = (rows < row) | ((rows == row) & (columns < column))
    # One row up, a masked 3×3 kernel reaches one column to the right; in a row, none.
    blind = (rows < row) & (columns > column + row - rows)
    seen = influence > 0
    return {
        "row": row,
        "column": column,
        "earlier": int(earlier.sum()),
        "seen": int((seen & earlier).sum()),
        "later_seen": int((seen & ~earlier).sum()),
        "blind_spot": int(blind.sum()),
        "blind_spot_seen": int((seen & blind).sum()),
    }


def _combinations(targets, num_images, model, seed):
    height, width, _ = model.image_shape
    count = model.network.num_parameters
    weights = np.zeros((len(targets), num_images, height, width, count), "float32")
    rng = np.random.default_rng(seed)
    first = count // model.network.evaluations_per_pixel
    for index, (row, column) in enumerate(targets):
        weights[index, :, row, column, :first] = rng.normal(size=(num_images, first))
    return ops.convert_to_tensor(weights.reshape(-1, height, width, count))


def input_gradient(function: Callable, array: np.ndarray) -> np.ndarray:
    """Gradient of a scalar with respect to an array.

    Args:
        function: From a float32 tensor of the shape of `array` to a scalar tensor. Under JAX it
            is compiled.
        array: Numbers, of any shape.

    Returns:
        Float32 array of the shape of `array`; zeros where the scalar doesn't depend on it.

    Raises:
        RuntimeError: Under a backend without gradients, such as `numpy`.

    Example:

    >>> input_gradient(lambda x: keras.ops.sum(x**2), [1.0, 2.0])
    array([2., 4.], dtype=float32)
    """
    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise RuntimeError(
            f"Gradients need one of the backends {', '.join(_GRADIENTS)}. Received: {backend}"
        )
    gradient = _GRADIENTS[backend](function, np.asarray(array, "float32"))
    return ops.convert_to_numpy(gradient)


# Each imports its own backend: the others need not be installed.


def _tensorflow(function, array):
    import tensorflow as tf

    tensor = tf.convert_to_tensor(array)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = function(tensor)
    return tape.gradient(value, tensor, unconnected_gradients="zero")


def _jax(function, array):
    import jax

    return jax.jit(jax.grad(function))(array)


def _torch(function, array):
    import torch

    tensor = ops.convert_to_tensor(array).requires_grad_()
    (gradient,) = torch.autograd.grad(
        function(tensor), tensor, allow_unused=True, materialize_grads=True
    )
    return gradient


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
