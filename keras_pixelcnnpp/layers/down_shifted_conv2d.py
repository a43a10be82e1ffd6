"""Convolution for the stream `u`, which sees the rows above."""

import keras

from keras_pixelcnnpp.layers.shifted_conv2d import ShiftedConv2D


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownShiftedConv2D(ShiftedConv2D):
    """Weight-normalized convolution whose outputs see no row below their own.

    With `kernel_size=(2, 3)`, the output at `(i, j)` sees rows `i - 1` and `i` and columns
    `j - 1` to `j + 1`; with `strict=True`, rows `i - 2` and `i - 1`.

    Args:
        filters: Integer, number of output channels.
        kernel_size: Pair of integers; the number of columns is odd.
        strides: Integer, 1 or larger.
        strict: Boolean, whether an output must not see its own row.
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape: `(..., height, width, channels)`, floats.
    Output shape: `(..., ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: If an argument is out of range or the kernel has an even number of columns.

    Example:

    >>> DownShiftedConv2D(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 4, 4, 8)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.3 and its reference code.
    """

    def __init__(
        self, filters, kernel_size=(2, 3), strides=1, strict=False, initial_scale=1.0, **kwargs
    ):
        super().__init__(filters, kernel_size, strides, strict, initial_scale, **kwargs)
        if self.kernel_size[1] % 2 == 0:
            raise ValueError(
                "Invalid value for argument `kernel_size`. Expected an odd number of columns. "
                f"Received: kernel_size={kernel_size}"
            )

    def padding(self):
        rows, columns = self.kernel_size
        shift = int(self.strict)
        return (rows - 1 + shift, -shift), (columns // 2, columns // 2)
