"""The masked convolution, by which the first PixelCNNs see only what comes before a pixel."""

import keras
import numpy as np

from keras_pixelcnnpp.checks import require_choice, require_integer
from keras_pixelcnnpp.layers.shifted import ShiftedConv2D


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

    def __init__(self, filters, kernel_size=3, mask="B", groups=1, initial_scale=1.0, **kwargs):
        pair = kernel_size if isinstance(kernel_size, list | tuple) else (kernel_size, kernel_size)
        for size in pair:
            require_integer("kernel_size", size)
        if len(pair) != 2 or pair[0] % 2 == 0 or pair[1] % 2 == 0:
            raise ValueError(
                "Invalid value for argument `kernel_size`. Expected an odd integer or a pair of "
                f"them, so that there is a centre. Received: kernel_size={kernel_size}"
            )
        require_choice("mask", mask, ("A", "B"))
        require_integer("groups", groups)
        super().__init__(
            filters, (pair[0] // 2 + 1, pair[1]), initial_scale=initial_scale, **kwargs
        )
        if filters % groups:
            raise ValueError(
                "Invalid value for argument `filters`. Expected a multiple of "
                f"groups={groups}. Received: filters={filters}"
            )
        self.mask = mask
        self.groups = groups

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.groups:
            raise ValueError(
                "Invalid shape of the input. Expected a number of channels that is a multiple of "
                f"groups={self.groups}. Received: input_shape={tuple(input_shape)}"
            )
        self._seen = self._mask((*self.kernel_size, channels, self.filters))
        if not self._seen.any(axis=(0, 1, 2)).all():
            raise ValueError(
                "Invalid value for argument `kernel_size`. Expected a kernel of which mask 'A' "
                f"leaves something. Received: {self.kernel_size[1]} columns in one row"
            )
        super().build(input_shape)

    def _mask(self, shape):
        """1 where the kernel `(rows, columns, inputs, outputs)` may see, else 0: float32."""
        _, columns, inputs, outputs = shape
        seen = np.ones(shape, "float32")
        centre = columns // 2
        seen[-1, centre + 1 :] = 0
        input_groups = np.arange(inputs) * self.groups // inputs
        output_groups = np.arange(outputs) * self.groups // outputs
        earlier = input_groups[:, None] < output_groups
        same = input_groups[:, None] == output_groups
        seen[-1, centre] = earlier | same if self.mask == "B" else earlier
        return seen

    def normalized(self, direction):
        """The kernel: the mask before the norm, which is of what is seen."""
        return super().normalized(direction * self._seen)

    def padding(self):
        rows, columns = self.kernel_size
        return (rows - 1, 0), (columns // 2, columns // 2)
