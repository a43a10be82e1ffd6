"""Bits per dimension and their unit."""

import math

import numpy as np

from keras_pixelcnnpp.utils.backend import Tensor


def bits_per_dim(
    log_likelihood: Tensor | np.ndarray | float, image_shape: tuple[int, int, int]
) -> Tensor | np.ndarray:
    """Converts log-likelihoods in nats to bits per dimension.

    Args:
        log_likelihood: Tensor, array or number, log p(x) in nats, of any shape.
        image_shape: `(height, width, channels)`. A dimension is one channel of one pixel.

    Returns:
        `-log2 p(x) / (height * width * channels)` with the shape of `log_likelihood`: a tensor for
        a tensor, otherwise a float64 array.

    Example:

    >>> float(bits_per_dim(np.log(1 / 256), (1, 1, 1)))
    8.0
    """
    if isinstance(log_likelihood, np.ndarray | np.number | float):
        log_likelihood = np.asarray(log_likelihood, dtype="float64")
    return -log_likelihood / (math.prod(image_shape) * math.log(2.0))


def bits_unit(num_levels: int) -> str:
    """Returns the unit `"bits/dim"`, with the number of levels if it is not 256."""
    return "bits/dim" if num_levels == 256 else f"bits/dim of {num_levels} levels"
