"""Causal convolutions: weight-normalized, shifted, transposed, and masked."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import Shape, Tensor, matmul
from keras_pixelcnnpp.checks import require_choice, require_integer
from keras_pixelcnnpp.errors import invalid_argument

# What holds for some calls of the layers. Not attributes of theirs: another thread may call them.
_initializing = contextvars.ContextVar("initializing", default=False)
_fixed_kernels = contextvars.ContextVar("fixed_kernels", default=None)  # biases too, by path

Padding = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)


class WeightNormalized(keras.layers.Layer):
    """Base of the layers whose kernel is a direction times a gain per output channel.

    The kernel is `gain * direction / ||direction||`, the norm taken over everything but the
    output channel (Salimans & Kingma 2016, eq. 2). A subclass says in `convolve(x)` how the kernel
    meets an already padded input, without the bias.

    Data-dependent initialization (ibid., section 3): inside `data_dependent_initialization()`,
    an eager call sets gain and bias so that the outputs of that very batch have mean 0 and
    standard deviation `initial_scale` in each channel. A channel that hardly varies on that batch
    keeps its gain.

    Reference:
        Salimans & Kingma 2016, Weight Normalization, https://arxiv.org/abs/1602.07868
    """

    # The smallest deviation, at a gain of 1, that is scaled. A stream that sees nothing, as at a
    # resolution of one row, has small residuals only, and training diverges if they are amplified.
    MIN_DEVIATION = 0.1
    seen: Any = 1.0  # what a mask leaves of the direction

    def __init__(self, filters: int, initial_scale: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        require_integer("filters", filters)
        self.filters = filters
        self.initial_scale = initial_scale

    def add_kernel(self, shape: Shape) -> None:
        """Creates direction, gain and bias for a kernel of `shape`, output channels last."""
        # No autocast: under mixed precision the norm would be that of a rounded direction, and
        # torch would assign to a rounded copy of the bias, not to the bias.
        self.direction = self.add_weight(
            name="direction",
            shape=shape,
            initializer=keras.initializers.RandomNormal(stddev=0.05),
            autocast=False,
        )
        self.gain = self.add_weight(
            name="gain",
            shape=(1,) * (len(shape) - 1) + (self.filters,),
            initializer=keras.initializers.Constant(self.initial_scale),
            autocast=False,
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.filters,), initializer="zeros", autocast=False
        )

    def kernel(self) -> Tensor:
        """Returns the normalized kernel, in the compute dtype."""
        fixed = self._fixed()
        if fixed is not None:
            return fixed[0]
        return ops.cast(self.normalized(self.direction), self.compute_dtype)

    def _fixed(self) -> tuple[Tensor, Tensor] | None:
        """Kernel and bias from `fixed_kernels`, or `None`."""
        return (_fixed_kernels.get() or {}).get(self.path)

    def normalized(self, direction: Tensor) -> Tensor:
        """The direction, scaled to the length that the gain says."""
        axes = tuple(range(len(direction.shape) - 1))
        squares = ops.sum(ops.square(direction), axis=axes, keepdims=True)
        return direction * (self.gain * ops.rsqrt(squares))

    def call(self, x: Tensor) -> Tensor:
        outputs = self.convolve(x)
        if _initializing.get():
            outputs = self._initialize(outputs)
        fixed = self._fixed()
        bias = self.bias if fixed is None else fixed[1]
        return outputs + ops.cast(bias, outputs.dtype)

    def _initialize(self, outputs: Tensor) -> Tensor:
        """Sets gain and bias from the outputs of one batch; returns the rescaled outputs."""
        outputs = ops.cast(outputs, "float32")
        axes = list(range(len(outputs.shape) - 1))
        mean = ops.mean(outputs, axis=axes)
        # Not ops.moments, whose mean of squares less square of the mean may be negative.
        variance = ops.mean(ops.square(outputs - mean), axis=axes)
        deviation = ops.sqrt(variance)
        is_constant = deviation < self.MIN_DEVIATION * ops.abs(ops.reshape(self.gain, (-1,)))
        factor = ops.where(is_constant, 1.0, self.initial_scale / ops.maximum(deviation, 1e-30))
        self.gain.assign(self.gain * ops.reshape(factor, self.gain.shape))
        self.bias.assign(-mean * factor)
        return ops.cast(outputs * factor, self.compute_dtype)


@contextlib.contextmanager
def context_value(variable: contextvars.ContextVar, value: Any) -> Iterator[None]:
    """While open, a context variable has this value, in this thread."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def is_initializing() -> bool:
    """Whether layers set their gains and biases now."""
    return _initializing.get()


def data_dependent_initialization() -> AbstractContextManager[None]:
    """A context in which eager calls initialize the weight normalization of what is called."""
    return context_value(_initializing, True)


def normalized_kernels(layer: keras.layers.Layer) -> dict[str, tuple[Tensor, Tensor]]:
    """Kernels and biases of the layers inside `layer` that are in use, for `fixed_kernels`."""
    layers = layer._flatten_layers()
    return {
        inner.path: inner._fixed() or (inner.kernel(), ops.cast(inner.bias, inner.compute_dtype))
        for inner in layers
        if isinstance(inner, WeightNormalized) and inner.built
    }


def fixed_kernels(kernels: dict[str, tuple[Tensor, Tensor]]) -> AbstractContextManager[None]:
    """A context in which layers use these kernels and biases, a network's `normalized_kernels`.

    A loop that calls the layers per pixel would otherwise read and normalize them per pixel.
    """
    return context_value(_fixed_kernels, kernels)


def map_channels(x: Tensor, matrix: Tensor) -> Tensor:
    """`(batch, ..., channels)` times `(channels, filters)`: `(batch, ..., filters)`."""
    shape = (-1, *x.shape[1:-1], matrix.shape[-1])
    if None in shape:
        return matmul(x, matrix)
    # Of an unknown batch, TensorFlow makes some 25 operations of the other product, most of which
    # compute shapes: a third of the graph that samples.
    return ops.reshape(matmul(ops.reshape(x, (-1, x.shape[-1])), matrix), shape)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class WeightNormalizedDense(WeightNormalized):
    """Maps the channels of each pixel: `(..., channels)` to `(..., filters)`.

    Args:
        filters: Integer, number of output channels.
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> WeightNormalizedDense(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 4, 4, 8)
    """

    def build(self, input_shape: Shape) -> None:
        self.add_kernel((input_shape[-1], self.filters))

    def convolve(self, x: Tensor) -> Tensor:
        return map_channels(x, self.kernel())

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters)


class ShiftedConv2D(WeightNormalized):
    """Base of the shifted convolutions.

    A subclass says how far to pad in `padding()`: `((top, bottom), (left, right))`; a negative
    number crops.

    Inputs are `(batch, ..., height, width, channels)`.

    Called with `padded=True`, the input is taken as already padded; it may then be a matrix with
    a row for each image, as long as the kernel. That is how the incremental sampler runs the same
    layer with the same weights on a window of a cache.

    The arguments are those of `DownShiftedConv2D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sequence[int],
        strides: int = 1,
        strict: bool = False,
        initial_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(filters, initial_scale, **kwargs)
        rows, columns = self.kernel_size = tuple(kernel_size)
        require_integer("kernel_size", rows)
        require_integer("kernel_size", columns)
        require_integer("strides", strides)
        self.strides = strides
        self.strict = strict

    def build(self, input_shape: Shape) -> None:
        self.add_kernel((*self.kernel_size, input_shape[-1], self.filters))

    def pad(self, x: Tensor) -> Tensor:
        """Shifts `x`: zeros before it, and as many rows or columns less after it."""
        (top, bottom), (left, right) = self.padding()
        if min(bottom, right) < 0:  # a slice of everything would cost a copy, and its gradient two
            height, width = x.shape[-3], x.shape[-2]
            x = x[..., : height + min(bottom, 0), : width + min(right, 0), :]
        return _pad_image(x, ((top, max(bottom, 0)), (left, max(right, 0))))

    def pad_columns(self, x: Tensor) -> Tensor:
        """Pads the columns only, for a row whose rows above come from a cache."""
        return _pad_image(x, ((0, 0), self.padding()[1]))

    def convolve(self, x: Tensor) -> Tensor:
        kernel = self.kernel()
        if len(x.shape) == 2:  # a window for each image
            outputs = matmul(x, ops.reshape(kernel, (-1, self.filters)))
            return ops.reshape(outputs, (-1, 1, 1, 1, self.filters))
        _, *leading, height, width, channels = x.shape
        if (height, width) == self.kernel_size:  # one output pixel: a matrix product
            x = ops.reshape(x, (-1, *leading, 1, 1, height * width * channels))
            return map_channels(x, ops.reshape(kernel, (-1, self.filters)))
        images = ops.reshape(x, (-1, height, width, channels))
        if keras.backend.standardize_dtype(x.dtype) == "float64":
            outputs = self._sum_over_taps(images, kernel)
        else:
            outputs = ops.conv(images, kernel, self.strides, "valid", data_format="channels_last")
        return ops.reshape(outputs, (-1, *leading, *outputs.shape[1:]))

    def _sum_over_taps(self, images: Tensor, kernel: Tensor) -> Tensor:
        """The convolution as a sum of products alone, as not every algorithm computes it."""
        rows, columns = self.kernel_size
        height, width = images.shape[1] - rows + 1, images.shape[2] - columns + 1
        step = self.strides
        return sum(
            map_channels(
                images[:, row : row + height : step, column : column + width : step],
                kernel[row, column],
            )
            for row in range(rows)
            for column in range(columns)
        )

    def call(self, x: Tensor, padded: bool = False) -> Tensor:
        return super().call(x if padded else self.pad(x))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        *leading, height, width, _ = input_shape
        return (*leading, -(-height // self.strides), -(-width // self.strides), self.filters)


def _pad_image(x: Tensor, padding: Padding) -> Tensor:
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
        Salimans et al. 2017, PixelCNN++: its reference code, and section 2.3 (downsampling).
    """

    def __init__(self, filters: int, kernel_size: Sequence[int] = (2, 3), **kwargs: Any):
        super().__init__(filters, kernel_size, **kwargs)
        if self.kernel_size[1] % 2 == 0:
            raise invalid_argument("kernel_size", kernel_size, "an odd number of columns")

    def padding(self) -> Padding:
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

    def __init__(self, filters: int, kernel_size: Sequence[int] = (2, 2), **kwargs: Any):
        super().__init__(filters, kernel_size, **kwargs)

    def padding(self) -> Padding:
        rows, columns = self.kernel_size
        shift = int(self.strict)
        return (rows - 1, 0), (columns - 1 + shift, -shift)


# Each with its resolution.
Convolutions = list[tuple[ShiftedConv2D, int]]


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

    def build(self, input_shape: Shape) -> None:
        self.add_kernel((input_shape[-1], *self.kernel_size, self.filters))

    def taps(self, x: Tensor) -> Tensor:
        """Returns the product with each tap: `(..., height, width, rows, columns, filters)`."""
        kernel = ops.reshape(self.kernel(), (x.shape[-1], -1))
        return ops.reshape(
            map_channels(x, kernel), (-1, *x.shape[1:-1], *self.kernel_size, self.filters)
        )

    def convolve(self, x: Tensor) -> Tensor:
        *_, height, width, _ = x.shape
        even, odd = self.columns(self.taps(x))  # (..., height, width, 2 rows, filters)
        # Not ops.stack, which under torch rounds float64 to float32.
        parts = [ops.expand_dims(part, -2) for part in (even, odd)]
        outputs = ops.concatenate(parts, axis=-2)  # (..., height, width, rows, columns, filters)
        outputs = ops.swapaxes(outputs, -4, -3)  # (..., height, rows, width, columns, filters)
        return ops.reshape(outputs, (-1, *x.shape[1:-3], 2 * height, 2 * width, self.filters))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownShiftedConv2DTranspose(ShiftedConv2DTranspose):
    """Weight-normalized transposed convolution, 2×3 with stride 2, for the vertical stack.

    The input at `(i, j)` spreads to rows `2i` and `2i + 1` and columns `2j - 1` to `2j + 1`.

    Example:

    >>> DownShiftedConv2DTranspose(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 8, 8, 8)
    """

    kernel_size = (2, 3)

    def columns(self, taps: Tensor) -> tuple[Tensor, Tensor]:
        left, center, right = ops.unstack(taps, axis=-2)
        # (..., height, width, 2 rows, filters): column j + 1 spreads to the left into 2j + 1.
        no_padding = [(0, 0)] * (len(left.shape) - 3)
        from_next = ops.pad(left[..., 1:, :, :], [*no_padding, (0, 1), (0, 0), (0, 0)])
        return center, right + from_next


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownRightShiftedConv2DTranspose(ShiftedConv2DTranspose):
    """Weight-normalized transposed convolution, 2×2 with stride 2, for the horizontal stack.

    The input at `(i, j)` spreads to rows `2i` and `2i + 1` and columns `2j` and `2j + 1`.

    Example:

    >>> DownRightShiftedConv2DTranspose(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 8, 8, 8)
    """

    kernel_size = (2, 2)

    def columns(self, taps: Tensor) -> tuple[Tensor, Tensor]:
        return ops.unstack(taps, axis=-2)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class MaskedConv2D(ShiftedConv2D):
    """Weight-normalized convolution around a pixel that sees nothing after it in raster order.

    It sees the rows above, on both sides, and to the left in the pixel's own row. Of the pixel
    itself, mask `"A"` sees nothing and mask `"B"` everything. With `groups` channels are ordered
    (R, G, B): of the pixel itself, an output channel sees the inputs of earlier groups, and with
    mask `"B"` those of its own too. `"A"` is for the image, `"B"` for features.

    The rows below the pixel, which the mask would set to zero, are not stored.

    Args:
        filters: Integer, number of output channels, a multiple of `groups`.
        kernel_size: Odd integer, or a pair of them, rows and columns.
        mask: `"A"` or `"B"`.
        groups: Integer, channel groups.
        initial_scale: Float, standard deviation of the outputs after data-dependent initialization.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape: `(..., height, width, channels)`, floats; channels a multiple of `groups`.
    Output shape: `(..., height, width, filters)`.

    Raises:
        ValueError: If an argument is out of range, channels don't divide into groups, or the mask
            leaves an output channel nothing to see.

    Example:

    >>> MaskedConv2D(6, kernel_size=7, mask="A", groups=3)(keras.ops.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 6)

    Reference:
        van den Oord et al. 2016, Pixel Recurrent Neural Networks, section 3.4 and figure 2,
        https://arxiv.org/abs/1601.06759
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int] = 3,
        mask: str = "B",
        groups: int = 1,
        initial_scale: float = 1.0,
        **kwargs: Any,
    ):
        pair = kernel_size if isinstance(kernel_size, list | tuple) else (kernel_size, kernel_size)
        for size in pair:
            require_integer("kernel_size", size)
        if len(pair) != 2 or pair[0] % 2 == 0 or pair[1] % 2 == 0:
            expected = "an odd integer or a pair of them, so that there is a center"
            raise invalid_argument("kernel_size", kernel_size, expected)
        require_choice("mask", mask, ("A", "B"))
        require_integer("groups", groups)
        super().__init__(
            filters, (pair[0] // 2 + 1, pair[1]), initial_scale=initial_scale, **kwargs
        )
        if filters % groups:
            raise invalid_argument("filters", filters, f"a multiple of groups={groups}")
        self.mask = mask
        self.groups = groups

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels % self.groups:
            expected = f"a number of channels that is a multiple of groups={self.groups}"
            raise invalid_argument("input_shape", tuple(input_shape), expected)
        self.seen = self._mask((*self.kernel_size, channels, self.filters))
        if not self.seen.any(axis=(0, 1, 2)).all():
            expected = "a kernel of which mask 'A' leaves something"
            raise invalid_argument("kernel_size", self.kernel_size, expected)
        super().build(input_shape)

    def _mask(self, shape: tuple[int, int, int, int]) -> np.ndarray:
        """1 where the kernel `(rows, columns, inputs, outputs)` may see, else 0: float32."""
        _, columns, inputs, outputs = shape
        seen = np.ones(shape, "float32")
        center = columns // 2
        seen[-1, center + 1 :] = 0
        input_groups = np.arange(inputs) * self.groups // inputs
        output_groups = np.arange(outputs) * self.groups // outputs
        earlier = input_groups[:, None] < output_groups
        same = input_groups[:, None] == output_groups
        seen[-1, center] = earlier | same if self.mask == "B" else earlier
        return seen

    def normalized(self, direction: Tensor) -> Tensor:
        """The kernel: the mask before the norm, which is of what is seen."""
        return super().normalized(direction * self.seen)

    def padding(self) -> Padding:
        rows, columns = self.kernel_size
        return (rows - 1, 0), (columns // 2, columns // 2)
