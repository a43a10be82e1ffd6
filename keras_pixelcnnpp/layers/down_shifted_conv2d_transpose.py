"""Up-sampling for the stream `u`."""

import keras
from keras import ops

from keras_pixelcnnpp.layers.shifted_conv2d_transpose import ShiftedConv2DTranspose


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownShiftedConv2DTranspose(ShiftedConv2DTranspose):
    """Weight-normalized transposed convolution, 2×3 with stride 2, for the stream `u`.

    The input at `(i, j)` spreads to rows `2i` and `2i + 1` and columns `2j - 1` to `2j + 1`.

    Args:
        filters: Integer, number of output channels.
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape: `(batch, ..., height, width, channels)`, floats.
    Output shape: `(batch, ..., 2 * height, 2 * width, filters)`.

    Example:

    >>> DownShiftedConv2DTranspose(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 8, 8, 8)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.3 and its reference code.
    """

    kernel_size = (2, 3)

    def columns(self, taps):
        left, centre, right = ops.unstack(taps, axis=-2)
        # (..., height, width, 2 rows, filters): column j + 1 spreads to the left into 2j + 1.
        no_padding = [(0, 0)] * (len(left.shape) - 3)
        from_next = ops.pad(left[..., 1:, :, :], [*no_padding, (0, 1), (0, 0), (0, 0)])
        return centre, right + from_next
