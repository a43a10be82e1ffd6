"""What both transposed shifted convolutions share: each input pixel spreads to its own patch."""

from keras import ops

from keras_pixelcnnpp.layers.weight_normalized import WeightNormalized


class ShiftedConv2DTranspose(WeightNormalized):
    """Base of the transposed convolutions of stride 2, which double height and width.

    A transposed convolution multiplies each input pixel with every tap of the kernel and adds
    up where the taps overlap. Rows never overlap here (two taps, stride two), so a row of the
    input alone determines two rows of the output, which is what incremental evaluation needs.

    Args:
        filters: Integer, number of output channels.
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    kernel_size = None  # (rows, columns), set by the subclass

    def build(self, input_shape):
        self.add_kernel((input_shape[-1], *self.kernel_size, self.filters))

    def taps(self, x):
        """Returns the product with each tap: `(..., height, width, rows, columns, filters)`."""
        kernel = ops.reshape(self.kernel(), (x.shape[-1], -1))
        return ops.reshape(
            ops.matmul(x, kernel), (-1, *x.shape[1:-1], *self.kernel_size, self.filters)
        )

    def columns(self, taps):
        """Returns the outputs of the even and of the odd columns, from `taps`."""
        raise NotImplementedError(f"{type(self).__name__} must say how its taps overlap.")

    def convolve(self, x):
        *_, height, width, _ = x.shape
        even, odd = self.columns(self.taps(x))  # (..., height, width, 2 rows, filters)
        outputs = ops.stack([even, odd], axis=-2)  # (..., height, width, rows, columns, filters)
        outputs = ops.swapaxes(outputs, -4, -3)  # (..., height, rows, width, columns, filters)
        return ops.reshape(outputs, (-1, *x.shape[1:-3], 2 * height, 2 * width, self.filters))

    def compute_output_shape(self, input_shape):
        *leading, height, width, _ = input_shape
        return (*leading, 2 * height, 2 * width, self.filters)
