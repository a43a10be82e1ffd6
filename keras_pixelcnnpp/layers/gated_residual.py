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
    # In float32, and before the concatenation: bfloat16 exponentials are slow on a CPU, and the
    # gradient of this order needs one copy less.
    wide = ops.cast(x, "float32")
    halves = [ops.cast(ops.elu(half), x.dtype) for half in (wide, -wide)]
    return ops.concatenate(halves, axis=-1)
