"""Bits per dimension, the unit in which densities of pictures are compared."""

import math

import numpy as np


def bits_per_dim(log_likelihood: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Turns log-likelihoods in nats into bits per dimension.

    Args:
        log_likelihood: `log p(x)` in nats, of any shape.
        image_shape: `(height, width, channels)`; a dimension is one channel of one pixel.

    Returns:
        `-log2 p(x) / (height * width * channels)`, float64, the shape of `log_likelihood`.

    Example:

    >>> float(bits_per_dim(np.log(1 / 256), (1, 1, 1)))
    8.0
    """
    dimensions = math.prod(image_shape)
    return -np.asarray(log_likelihood, dtype=np.float64) / (dimensions * math.log(2))
