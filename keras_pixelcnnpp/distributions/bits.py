"""Bits per dimension, and their name."""

import math

import numpy as np

from keras_pixelcnnpp.backend import Tensor


def bits_per_dim(
    log_likelihood: Tensor | np.ndarray | float, image_shape: tuple[int, int, int]
) -> Tensor | np.ndarray:
    """Bits per dimension of log-likelihoods in nats.

    Args:
        log_likelihood: log p(x) in nats, of any shape: a tensor, an array or a number.
        image_shape: `(height, width, channels)`; a dimension is one channel of one pixel.

    Returns:
        `-log2 p(x) / (height * width * channels)`, the shape of `log_likelihood`; a tensor for a
        tensor, else float64.

    Example:

    >>> float(bits_per_dim(np.log(1 / 256), (1, 1, 1)))
    8.0
    """
    if isinstance(log_likelihood, np.ndarray | np.number | float):
        log_likelihood = np.asarray(log_likelihood, dtype="float64")
    return -log_likelihood / (math.prod(image_shape) * math.log(2.0))


def bits_unit(num_levels: int) -> str:
    """`"bits/dim"`, with the number of levels where they are fewer than an image has."""
    return "bits/dim" if num_levels == 256 else f"bits/dim of {num_levels} levels"
