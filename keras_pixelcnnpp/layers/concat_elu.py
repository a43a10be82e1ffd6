"""Concatenated exponential linear unit."""

from keras import ops


def concat_elu(x):
    """Concatenates `elu(x)` and `elu(-x)` on the channel axis.

    Args:
        x: Float tensor `(..., channels)`.

    Returns:
        Tensor `(..., 2 * channels)` of the same dtype.

    Example:

    >>> concat_elu(keras.ops.ones((1, 2, 2, 3))).shape
    (1, 2, 2, 6)

    Reference:
        Salimans et al. 2017, PixelCNN++, https://arxiv.org/abs/1701.05517
        (after the concatenated ReLU of Shang et al. 2016).
    """
    return ops.elu(ops.concatenate([x, -x], axis=-1))
