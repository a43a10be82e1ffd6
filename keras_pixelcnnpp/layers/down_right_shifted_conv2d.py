"""Convolution for the stream `ul`, which sees what is above and to the left."""

import keras

from keras_pixelcnnpp.layers.shifted_conv2d import ShiftedConv2D


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownRightShiftedConv2D(ShiftedConv2D):
    """Weight-normalized convolution whose outputs see neither below nor to the right.

    With `kernel_size=(2, 2)`, the output at `(i, j)` sees rows `i - 1` and `i` and columns
    `j - 1` and `j`; with `strict=True`, columns `j - 2` and `j - 1`.

    Args:
        filters: Integer, number of output channels.
        kernel_size: Pair of integers.
        strides: Integer, 1 or larger.
        strict: Boolean, whether an output must not see its own column.
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape: `(..., height, width, channels)`, floats.
    Output shape: `(..., ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> DownRightShiftedConv2D(8, strides=2)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 2, 2, 8)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.3 and its reference code.
    """

    def __init__(
        self, filters, kernel_size=(2, 2), strides=1, strict=False, initial_scale=1.0, **kwargs
    ):
        super().__init__(filters, kernel_size, strides, strict, initial_scale, **kwargs)

    def padding(self):
        rows, columns = self.kernel_size
        shift = int(self.strict)
        return (rows - 1, 0), (columns - 1 + shift, -shift)
