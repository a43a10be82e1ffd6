"""Up-sampling for the stream `ul`."""

import keras
from keras import ops

from keras_pixelcnnpp.layers.shifted_conv2d_transpose import ShiftedConv2DTranspose


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownRightShiftedConv2DTranspose(ShiftedConv2DTranspose):
    """Weight-normalized transposed convolution, 2×2 with stride 2, for the stream `ul`.

    The input at `(i, j)` spreads to rows `2i` and `2i + 1` and columns `2j` and `2j + 1`.

    Args:
        filters: Integer, number of output channels.
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape: `(batch, ..., height, width, channels)`, floats.
    Output shape: `(batch, ..., 2 * height, 2 * width, filters)`.

    Example:

    >>> DownRightShiftedConv2DTranspose(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 8, 8, 8)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.3 and its reference code.
    """

    kernel_size = (2, 2)

    def columns(self, taps):
        return ops.unstack(taps, axis=-2)
