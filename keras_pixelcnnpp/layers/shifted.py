"""Down-shifted and down-right-shifted convolutions, their transposes, and what they share."""

import keras
from keras import ops

from keras_pixelcnnpp.checks import require_integer
from keras_pixelcnnpp.layers.weight_normalized import WeightNormalized, map_channels


class ShiftedConv2D(WeightNormalized):
    """Base of the shifted convolutions.

    A subclass says how far to pad in `padding()`: `((top, bottom), (left, right))`; a negative
    number crops.

    Any number of leading axes: inputs are `(..., height, width, channels)`.

    Called with `padded=True`, the input is taken as already padded. That is how the incremental
    sampler runs the same layer with the same weights on a window of a cache.

    The arguments are those of `DownShiftedConv2D`.
    """

    def __init__(self, filters, kernel_size, strides=1, strict=False, initial_scale=1.0, **kwargs):
        super().__init__(filters, initial_scale, **kwargs)
        rows, columns = kernel_size
        require_integer("kernel_size", rows)
        require_integer("kernel_size", columns)
        require_integer("strides", strides)
        self.kernel_size = (rows, columns)
        self.strides = strides
        self.strict = strict

    def build(self, input_shape):
        self.add_kernel((*self.kernel_size, input_shape[-1], self.filters))

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
            return map_channels(x, ops.reshape(kernel, (-1, self.filters)))
        images = ops.reshape(x, (-1, height, width, channels))
        outputs = ops.conv(images, kernel, strides=self.strides, padding="valid")
        return ops.reshape(outputs, _shape(leading, outputs.shape[1:]))

    def call(self, x, padded=False):
        return super().call(x if padded else self.pad(x))

    def compute_output_shape(self, input_shape):
        *leading, height, width, _ = input_shape
        return (*leading, -(-height // self.strides), -(-width // self.strides), self.filters)


def _shape(leading, rest):
    """A shape for `ops.reshape` in which at most the batch axis is unknown."""
    return tuple(-1 if size is None else size for size in leading) + tuple(rest)


def _pad_image(x, padding):
    rows, columns = padding
    if rows == (0, 0) and columns == (0, 0):
        return x
    return ops.pad(x, [(0, 0)] * (len(x.shape) - 3) + [rows, columns, (0, 0)])


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


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownRightShiftedConv2D(ShiftedConv2D):
    """Weight-normalized convolution whose outputs see neither below nor to the right.

    With `kernel_size=(2, 2)`, the output at `(i, j)` sees rows `i - 1` and `i` and columns
    `j - 1` and `j`; with `strict=True`, columns `j - 2` and `j - 1`.

    The arguments are those of `DownShiftedConv2D`; the number of columns may be even.

    Example:

    >>> DownRightShiftedConv2D(8, strides=2)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 2, 2, 8)
    """

    def __init__(
        self, filters, kernel_size=(2, 2), strides=1, strict=False, initial_scale=1.0, **kwargs
    ):
        super().__init__(filters, kernel_size, strides, strict, initial_scale, **kwargs)

    def padding(self):
        rows, columns = self.kernel_size
        shift = int(self.strict)
        return (rows - 1, 0), (columns - 1 + shift, -shift)


class ShiftedConv2DTranspose(WeightNormalized):
    """Base of the transposed convolutions of stride 2, which double height and width.

    A transposed convolution multiplies each input pixel with every tap of the kernel and adds
    up where the taps overlap. Rows never overlap here (two taps, stride two), so a row of the
    input alone determines two rows of the output, which is what incremental evaluation needs. A
    subclass has the size of its kernel, and gives in `columns(taps)` the outputs of the even and of
    the odd columns.

    Args:
        filters: Integer, number of output channels.
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape: `(batch, ..., height, width, channels)`, floats.
    Output shape: `(batch, ..., 2 * height, 2 * width, filters)`.
    """

    def build(self, input_shape):
        self.add_kernel((input_shape[-1], *self.kernel_size, self.filters))

    def taps(self, x):
        """Returns the product with each tap: `(..., height, width, rows, columns, filters)`."""
        kernel = ops.reshape(self.kernel(), (x.shape[-1], -1))
        return ops.reshape(
            map_channels(x, kernel), (-1, *x.shape[1:-1], *self.kernel_size, self.filters)
        )

    def convolve(self, x):
        *_, height, width, _ = x.shape
        even, odd = self.columns(self.taps(x))  # (..., height, width, 2 rows, filters)
        outputs = ops.stack([even, odd], axis=-2)  # (..., height, width, rows, columns, filters)
        outputs = ops.swapaxes(outputs, -4, -3)  # (..., height, rows, width, columns, filters)
        return ops.reshape(outputs, (-1, *x.shape[1:-3], 2 * height, 2 * width, self.filters))

    def compute_output_shape(self, input_shape):
        *leading, height, width, _ = input_shape
        return (*leading, 2 * height, 2 * width, self.filters)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownShiftedConv2DTranspose(ShiftedConv2DTranspose):
    """Weight-normalized transposed convolution, 2×3 with stride 2, for the stream `u`.

    The input at `(i, j)` spreads to rows `2i` and `2i + 1` and columns `2j - 1` to `2j + 1`.

    Example:

    >>> DownShiftedConv2DTranspose(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 8, 8, 8)
    """

    kernel_size = (2, 3)

    def columns(self, taps):
        left, centre, right = ops.unstack(taps, axis=-2)
        # (..., height, width, 2 rows, filters): column j + 1 spreads to the left into 2j + 1.
        no_padding = [(0, 0)] * (len(left.shape) - 3)
        from_next = ops.pad(left[..., 1:, :, :], [*no_padding, (0, 1), (0, 0), (0, 0)])
        return centre, right + from_next


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownRightShiftedConv2DTranspose(ShiftedConv2DTranspose):
    """Weight-normalized transposed convolution, 2×2 with stride 2, for the stream `ul`.

    The input at `(i, j)` spreads to rows `2i` and `2i + 1` and columns `2j` and `2j + 1`.

    Example:

    >>> DownRightShiftedConv2DTranspose(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 8, 8, 8)
    """

    kernel_size = (2, 2)

    def columns(self, taps):
        return ops.unstack(taps, axis=-2)
