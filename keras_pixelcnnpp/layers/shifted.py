"""The convolution that both shifted convolutions share: pad, then a VALID convolution."""

from keras import ops

from keras_pixelcnnpp.arguments import require_positive_integer
from keras_pixelcnnpp.layers.weight_normalized import WeightNormalized


class ShiftedConv2D(WeightNormalized):
    """Base of the shifted convolutions. A subclass says how far to pad in `padding`.

    Any number of leading axes: inputs are `(..., height, width, channels)`.

    Called with `padded=True`, the input is taken as already padded. That is how the incremental
    sampler runs the same layer with the same weights on a window of a cache.

    Args:
        filters: Integer, number of output channels.
        kernel_size: Pair of integers, rows and columns.
        strides: Integer, 1 or larger, for rows and columns.
        strict: Boolean. `False`: an output may see the input at its own position (for features).
            `True`: only what comes before it (for pixels).
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, filters, kernel_size, strides=1, strict=False, initial_scale=1.0, **kwargs):
        super().__init__(filters, initial_scale, **kwargs)
        rows, columns = kernel_size
        require_positive_integer("kernel_size", rows)
        require_positive_integer("kernel_size", columns)
        require_positive_integer("strides", strides)
        self.kernel_size = (rows, columns)
        self.strides = strides
        self.strict = strict

    def build(self, input_shape):
        self.add_kernel((*self.kernel_size, input_shape[-1], self.filters))

    def padding(self):
        """Returns `((top, bottom), (left, right))`; a negative number crops."""
        raise NotImplementedError(f"{type(self).__name__} must say how it pads.")

    def pad(self, x):
        """Shifts `x`: zeros before it, and as many rows or columns less after it."""
        (top, bottom), (left, right) = self.padding()
        if min(bottom, right) < 0:  # a slice of everything would cost a copy, and its gradient two
            height, width = x.shape[-3], x.shape[-2]
            x = x[..., : height + min(bottom, 0), : width + min(right, 0), :]
        return _pad_image(x, ((top, max(bottom, 0)), (left, max(right, 0))))

    def pad_columns(self, x):
        """Pads the columns only, for a row whose rows above come from a cache."""
        return _pad_image(x, ((0, 0), self.padding()[1]))

    def convolve(self, x):
        kernel = self.kernel()
        *leading, height, width, channels = x.shape
        if (height, width) == self.kernel_size:  # one output pixel: a matrix product
            x = ops.reshape(x, _shape(leading, (1, 1, height * width * channels)))
            return ops.matmul(x, ops.reshape(kernel, (-1, self.filters)))
        images = ops.reshape(x, (-1, height, width, channels))
        outputs = ops.conv(images, kernel, strides=self.strides, padding="valid")
        return ops.reshape(outputs, _shape(leading, outputs.shape[1:]))

    def call(self, x, padded=False):
        return super().call(x if padded else self.pad(x))

    def compute_output_shape(self, input_shape):
        *leading, height, width, _ = input_shape
        return (*leading, -(-height // self.strides), -(-width // self.strides), self.filters)

    def get_config(self):
        config = super().get_config()
        config.update(
            {"kernel_size": self.kernel_size, "strides": self.strides, "strict": self.strict}
        )
        return config


def _shape(leading, rest):
    """A shape for `ops.reshape` in which at most the batch axis is unknown."""
    return tuple(-1 if size is None else size for size in leading) + tuple(rest)


def _pad_image(x, padding):
    rows, columns = padding
    if rows == (0, 0) and columns == (0, 0):
        return x
    return ops.pad(x, [(0, 0)] * (len(x.shape) - 3) + [rows, columns, (0, 0)])
