"""Causal convolutions: weight-normalized, shifted, transposed, and masked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.utils.backend import Shape, Tensor, matmul
from keras_pixelcnnpp.utils.checks import require_choice, require_integer
from keras_pixelcnnpp.utils.errors import invalid_argument

Padding = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)


class WeightNormalized(keras.layers.Layer):
    """Base class of layers with weight normalization.

    The kernel is `gain * direction / ||direction||`, with one gain and one norm for each output
    channel (Salimans & Kingma 2016, eq. 2). Subclasses implement `apply_kernel(x, kernel)`, which
    applies it to an already padded input without adding the bias.

    The initial gains replace the initialization from a batch of data (ibid., section 3), which
    gives similar ones: the values of an image have a small variance, and so has `concat_elu`.

    Args:
        filters: Integer, number of output channels.
        initial_scale: Optional float, initial gain. The default depends on the kind of layer: 3 for
            convolutions of the image, 2 for transposed convolutions, and 1.35 for others, which
            follow `concat_elu`. Masked convolutions have 1.
        **kwargs: Arguments of `keras.layers.Layer`.

    Reference:
        Salimans & Kingma 2016, Weight Normalization, https://arxiv.org/abs/1602.07868
    """

    default_scale = 1.35
    takes_arithmetic = True
    connections: Any = 1.0  # factor of the direction, 0 where a mask removes a connection

    def __init__(self, filters: int, initial_scale: float | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        require_integer("filters", filters)
        self.filters = filters
        self.initial_scale = self.default_scale if initial_scale is None else initial_scale

    def add_kernel(self, shape: Shape) -> None:
        """Creates direction, gain and bias for a kernel of `shape`, output channels last."""
        # No autocast: mixed precision would compute the norm from a rounded direction, and torch
        # would assign to a rounded copy of the bias instead of the bias.
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

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """Returns the normalized kernel and the bias, in the compute dtype."""
        kernel, dtype = self.normalized(self.direction), self.compute_dtype
        return ops.cast(kernel, dtype), ops.cast(self.bias, dtype)

    def normalized(self, direction: Tensor) -> Tensor:
        """Returns `gain * direction / ||direction||`."""
        axes = tuple(range(len(direction.shape) - 1))
        squares = ops.sum(ops.square(direction), axis=axes, keepdims=True)
        return direction * (self.gain * ops.rsqrt(squares))

    def call(self, x: Tensor, arithmetic: FloatArithmetic = FloatArithmetic()) -> Tensor:
        fixed = arithmetic.kernels.get(self.path)
        kernel, bias = self.kernel_and_bias() if fixed is None else fixed
        outputs = self.apply_kernel(x, kernel)
        return outputs + ops.cast(bias, outputs.dtype)


def map_channels(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiplies `(batch, ..., channels)` by a matrix `(channels, filters)`."""
    shape = (-1, *x.shape[1:-1], matrix.shape[-1])
    if None in shape:
        return matmul(x, matrix)
    # With an unknown batch size, TensorFlow builds about 25 operations for the product above, most
    # of them for shapes. They would be a third of the sampling graph.
    return ops.reshape(matmul(ops.reshape(x, (-1, x.shape[-1])), matrix), shape)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class WeightNormalizedDense(WeightNormalized):
    """Weight-normalized dense layer over the channels: `(..., channels)` to `(..., filters)`.

    The arguments are those of `WeightNormalized`.

    Example:

    >>> WeightNormalizedDense(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 4, 4, 8)
    """

    def build(self, input_shape: Shape) -> None:
        self.add_kernel((input_shape[-1], self.filters))

    def apply_kernel(self, x: Tensor, kernel: Tensor) -> Tensor:
        return map_channels(x, kernel)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters)


@dataclass(frozen=True)
class Window:
    """The input pixels of an output pixel, whose row is the last of the window.

    Attributes:
        rows, columns: Integers, its extent.
        left: Integer, number of its columns on the left of the output pixel.
        gap: Pair of integers, the rows and columns by which the window is moved up and to the left
            to exclude the current row or pixel.
    """

    rows: int
    columns: int
    left: int
    gap: tuple[int, int] = (0, 0)


class ShiftedConv2D(WeightNormalized):
    """Base class of the shifted and masked convolutions.

    Subclasses define the property `window`. The arguments are documented in `DownShiftedConv2D`.
    `strict` layers, which exclude the current row or pixel, are applied to the image.

    Call arguments:
        x: Features `(batch, ..., height, width, channels)`. If `padded`, they can also be a matrix
            with one flattened kernel window per row: `(batch, rows * columns * channels)`.
        padded: Boolean, whether `x` is already padded. The incremental sampler uses this to apply
            the layer to a window of its cache.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sequence[int],
        strides: int = 1,
        strict: bool = False,
        initial_scale: float | None = None,
        **kwargs: Any,
    ):
        if strict and initial_scale is None:
            initial_scale = 3.0
        super().__init__(filters, initial_scale, **kwargs)
        rows, columns = self.kernel_size = tuple(kernel_size)
        require_integer("kernel_size", rows)
        require_integer("kernel_size", columns)
        require_integer("strides", strides)
        self.strides = strides
        self.strict = strict

    def build(self, input_shape: Shape) -> None:
        self.add_kernel((*self.kernel_size, input_shape[-1], self.filters))

    @property
    def window(self) -> Window:
        """The `Window` of the convolution."""
        raise NotImplementedError

    def padding(self) -> Padding:
        """Returns the padding that the window needs; negative numbers crop."""
        window, (up, aside) = self.window, self.window.gap
        right = window.columns - 1 - window.left
        return (window.rows - 1 + up, -up), (window.left + aside, right - aside)

    def pad(self, x: Tensor) -> Tensor:
        """Pads `x` with zeros at the top and left, and pads or crops it at the bottom and right."""
        (top, bottom), (left, right) = self.padding()
        if min(bottom, right) < 0:  # slicing without need would copy, and its gradient twice
            height, width = x.shape[-3], x.shape[-2]
            x = x[..., : height + min(bottom, 0), : width + min(right, 0), :]
        return _pad_image(x, ((top, max(bottom, 0)), (left, max(right, 0))))

    def pad_columns(self, x: Tensor) -> Tensor:
        """Pads only the columns, for rows that follow each other in a cache."""
        return _pad_image(x, ((0, 0), self.padding()[1]))

    def apply_kernel(self, x: Tensor, kernel: Tensor) -> Tensor:
        if len(x.shape) == 2:  # one window per row
            outputs = matmul(x, ops.reshape(kernel, (-1, self.filters)))
            return ops.reshape(outputs, (-1, 1, 1, 1, self.filters))
        _, *leading, height, width, channels = x.shape
        if (height, width) == self.kernel_size:  # a single output pixel
            x = ops.reshape(x, (-1, *leading, 1, 1, height * width * channels))
            return map_channels(x, ops.reshape(kernel, (-1, self.filters)))
        images = ops.reshape(x, (-1, height, width, channels))
        if keras.backend.standardize_dtype(x.dtype) == "float64":
            outputs = self._sum_over_taps(images, kernel)
        else:
            outputs = ops.conv(images, kernel, self.strides, "valid", data_format="channels_last")
        return ops.reshape(outputs, (-1, *leading, *outputs.shape[1:]))

    def _sum_over_taps(self, images: Tensor, kernel: Tensor) -> Tensor:
        """Computes the convolution as a sum of products, which alone is exact in fixed point."""
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

    def call(
        self, x: Tensor, padded: bool = False, arithmetic: FloatArithmetic = FloatArithmetic()
    ) -> Tensor:
        return super().call(x if padded else self.pad(x), arithmetic)

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
    """Weight-normalized, down-shifted convolution: no output depends on rows below its own.

    With `kernel_size=(2, 3)`, the output at `(i, j)` depends on rows `i - 1` and `i` and columns
    `j - 1` to `j + 1`; with `strict=True`, on rows `i - 2` and `i - 1`.

    Args:
        kernel_size: Pair of integers, rows and columns. The number of columns must be odd.
        strides: Integer >= 1.
        strict: Boolean, whether the receptive field excludes the output's own row.
        filters: See `WeightNormalized`.
        **kwargs: See `WeightNormalized`.

    Input shape: `(..., height, width, channels)`, floats.
    Output shape: `(..., ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: If an argument is out of range, or the kernel has an even number of columns.

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

    @property
    def window(self) -> Window:
        rows, columns = self.kernel_size
        return Window(rows, columns, left=columns // 2, gap=(int(self.strict), 0))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownRightShiftedConv2D(ShiftedConv2D):
    """Weight-normalized, down-right-shifted convolution: no output depends on later pixels.

    With `kernel_size=(2, 2)`, the output at `(i, j)` depends on rows `i - 1` and `i` and columns
    `j - 1` and `j`; with `strict=True`, on columns `j - 2` and `j - 1`.

    The arguments are documented in `DownShiftedConv2D`. Here the number of columns may be even.

    Example:

    >>> DownRightShiftedConv2D(8, strides=2)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 2, 2, 8)
    """

    def __init__(self, filters: int, kernel_size: Sequence[int] = (2, 2), **kwargs: Any):
        super().__init__(filters, kernel_size, **kwargs)

    @property
    def window(self) -> Window:
        rows, columns = self.kernel_size
        return Window(rows, columns, left=columns - 1, gap=(0, int(self.strict)))


class ShiftedConv2DTranspose(WeightNormalized):
    """Base class of transposed convolutions with stride 2, which double height and width.

    A transposed convolution multiplies each input pixel by every tap of the kernel, and adds the
    products that fall on the same output pixel. With two kernel rows and stride 2, rows never
    overlap, so each input row alone determines two output rows. Incremental evaluation relies on
    this. Subclasses define `kernel_size` and implement `columns(taps)`, which returns the even and
    the odd output columns from the products with each tap `(..., height, width, rows, columns,
    filters)`. The arguments are those of `WeightNormalized`.

    Input shape: `(batch, ..., height, width, channels)`, floats.
    Output shape: `(batch, ..., 2 * height, 2 * width, filters)`.
    """

    default_scale = 2.0

    def build(self, input_shape: Shape) -> None:
        self.add_kernel((input_shape[-1], *self.kernel_size, self.filters))

    def apply_kernel(self, x: Tensor, kernel: Tensor) -> Tensor:
        *_, height, width, channels = x.shape
        products = map_channels(x, ops.reshape(kernel, (channels, -1)))
        taps = ops.reshape(products, (-1, *x.shape[1:-1], *self.kernel_size, self.filters))
        even, odd = self.columns(taps)  # (..., height, width, 2 rows, filters)
        # Not `ops.stack`, which rounds float64 to float32 under torch.
        parts = [ops.expand_dims(part, -2) for part in (even, odd)]
        outputs = ops.concatenate(parts, axis=-2)  # (..., height, width, rows, columns, filters)
        outputs = ops.swapaxes(outputs, -4, -3)  # (..., height, rows, width, columns, filters)
        return ops.reshape(outputs, (-1, *x.shape[1:-3], 2 * height, 2 * width, self.filters))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownShiftedConv2DTranspose(ShiftedConv2DTranspose):
    """Weight-normalized 2×3 transposed convolution with stride 2, for the vertical stack.

    The input at `(i, j)` contributes to rows `2i` and `2i + 1` and columns `2j - 1` to `2j + 1`.

    Example:

    >>> DownShiftedConv2DTranspose(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 8, 8, 8)
    """

    kernel_size = (2, 3)

    def columns(self, taps: Tensor) -> tuple[Tensor, Tensor]:
        left, center, right = ops.unstack(taps, axis=-2)
        # (..., height, width, 2 rows, filters): input j + 1 also contributes to column 2j + 1.
        no_padding = [(0, 0)] * (len(left.shape) - 3)
        from_next = ops.pad(left[..., 1:, :, :], [*no_padding, (0, 1), (0, 0), (0, 0)])
        return center, right + from_next


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class DownRightShiftedConv2DTranspose(ShiftedConv2DTranspose):
    """Weight-normalized 2×2 transposed convolution with stride 2, for the horizontal stack.

    The input at `(i, j)` contributes to rows `2i` and `2i + 1` and columns `2j` and `2j + 1`.

    Example:

    >>> DownRightShiftedConv2DTranspose(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 8, 8, 8)
    """

    kernel_size = (2, 2)

    def columns(self, taps: Tensor) -> tuple[Tensor, Tensor]:
        return ops.unstack(taps, axis=-2)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class MaskedConv2D(ShiftedConv2D):
    """Weight-normalized, masked convolution: no output depends on later pixels in raster order.

    The kernel is centered at the output pixel. It covers pixels on both sides in the rows above,
    and pixels to the left in the same row. Mask `"A"`, for the image, excludes the center pixel.
    Mask `"B"`, for features, includes it. With several `groups`, such as R, G and B, an output
    channel depends on the center pixel's channels in earlier groups, and with mask `"B"` also on
    those in its own group. Kernel rows below the center are not stored.

    Args:
        filters: Integer, number of output channels, a multiple of `groups`.
        kernel_size: Odd integer, or a pair of odd integers, rows and columns.
        mask: `"A"` or `"B"`.
        groups: Integer, number of channel groups.
        initial_scale: Float, initial gain.
        **kwargs: See `WeightNormalized`.

    Input shape: `(..., height, width, channels)`, floats. `channels` is a multiple of `groups`.
    Output shape: `(..., height, width, filters)`.

    Raises:
        ValueError: If an argument is out of range, the number of channels is not a multiple of
            `groups`, or the mask removes all inputs of an output channel.

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
            expected = "an odd integer or a pair of odd integers, so that the kernel has a center"
            raise invalid_argument("kernel_size", kernel_size, expected)
        require_choice("mask", mask, ("A", "B"))
        require_integer("groups", groups)
        stored = pair[0] // 2 + 1, pair[1]
        super().__init__(filters, stored, strict=mask == "A", initial_scale=initial_scale, **kwargs)
        if filters % groups:
            raise invalid_argument("filters", filters, f"a multiple of groups={groups}")
        self.mask = mask
        self.groups = groups

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels % self.groups:
            expected = f"a number of channels that is a multiple of groups={self.groups}"
            raise invalid_argument("input_shape", tuple(input_shape), expected)
        self.connections = self._mask((*self.kernel_size, channels, self.filters))
        if not self.connections.any(axis=(0, 1, 2)).all():
            expected = "a kernel with at least one tap that mask 'A' does not zero"
            raise invalid_argument("kernel_size", self.kernel_size, expected)
        super().build(input_shape)

    def _mask(self, shape: tuple[int, int, int, int]) -> np.ndarray:
        """Returns the mask of a kernel `(rows, columns, inputs, outputs)`: float32, 0 or 1."""
        _, columns, inputs, outputs = shape
        connections = np.ones(shape, "float32")
        center = columns // 2
        connections[-1, center + 1 :] = 0
        input_groups = np.arange(inputs) * self.groups // inputs
        output_groups = np.arange(outputs) * self.groups // outputs
        earlier = input_groups[:, None] < output_groups
        same = input_groups[:, None] == output_groups
        connections[-1, center] = earlier | same if self.mask == "B" else earlier
        return connections

    def normalized(self, direction: Tensor) -> Tensor:
        """Returns the normalized kernel, whose norm excludes masked entries."""
        return super().normalized(direction * self.connections)

    @property
    def window(self) -> Window:
        rows, columns = self.kernel_size
        return Window(rows, columns, left=columns // 2)
