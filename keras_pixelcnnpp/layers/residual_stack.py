"""One stream of the network: gated residual blocks, down to the lowest resolution and up again."""

import itertools

import keras

from keras_pixelcnnpp.arguments import require_choice
from keras_pixelcnnpp.conditioning import build_conditioning
from keras_pixelcnnpp.layers.down_right_shifted_conv2d import DownRightShiftedConv2D
from keras_pixelcnnpp.layers.down_right_shifted_conv2d_transpose import (
    DownRightShiftedConv2DTranspose,
)
from keras_pixelcnnpp.layers.down_shifted_conv2d import DownShiftedConv2D
from keras_pixelcnnpp.layers.down_shifted_conv2d_transpose import DownShiftedConv2DTranspose
from keras_pixelcnnpp.layers.evaluation import WholeImage
from keras_pixelcnnpp.layers.gated_residual_block import GatedResidualBlock

_CONVOLUTIONS = {
    "down": (DownShiftedConv2D, DownShiftedConv2DTranspose),
    "down_right": (DownRightShiftedConv2D, DownRightShiftedConv2DTranspose),
}


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class ResidualStack(keras.layers.Layer):
    """One stream of PixelCNN++: a U of gated residual blocks over several resolutions.

    On the way down, each resolution has its `num_blocks` blocks; on the way up, as many at the
    lowest and one more at the others, each with a shortcut from its mirror image. The stream `u`
    is a stack with `shift="down"`, the stream `ul` one with `shift="down_right"`.

    Args:
        filters: Sequence of integers, the width at each resolution, highest first.
        num_blocks: Sequence of integers, residual blocks at each resolution.
        shift: `"down"` or `"down_right"`.
        dropout_rate: Float in [0, 1).
        conditioning: Names of the label strategies, joined by `+`.
        num_classes: Integer, number of classes (0 for none).
        conditioned_blocks: `"all"`, or `"up"`: on the way up only. What comes before is then the
            same for all candidate labels, and computed once for them.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Features after the stem, `(batch, candidates, height, width, filters[0])`.
        links: Mapping from block name to a projection of the other stream, or `None`.
        labels: Optional int tensor `(batch, candidates)`.
        evaluation: See `GatedResidualBlock`.
        training: Boolean.

    Returns:
        The output of every block by its name, in order; the last is the stream's result.

    Reference:
        Salimans et al. 2017, PixelCNN++, figure 2.
    """

    def __init__(
        self,
        filters,
        num_blocks,
        shift="down",
        dropout_rate=0.0,
        conditioning="none",
        num_classes=0,
        conditioned_blocks="all",
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_choice("conditioned_blocks", conditioned_blocks, ("all", "up"))
        self.filters = tuple(filters)
        self.num_blocks = tuple(num_blocks)
        self.shift = shift
        self.dropout_rate = dropout_rate
        self.conditioning = conditioning
        self.num_classes = num_classes
        self.conditioned_blocks = conditioned_blocks
        dtype = self.dtype_policy
        levels = range(len(self.filters))
        down, up = _CONVOLUTIONS[shift]
        self.down_blocks = [self._blocks("down", level, self.num_blocks[level]) for level in levels]
        self.downsamplings = [
            down(self.filters[level + 1], strides=2, name=f"downsampling_{level}", dtype=dtype)
            for level in levels[:-1]
        ]
        self.bottleneck_conditioning = build_conditioning(
            conditioning, "bottleneck", num_classes, dtype=dtype
        )
        self.upsamplings = [
            up(self.filters[level], name=f"upsampling_{level}", dtype=dtype)
            for level in levels[:-1]
        ]
        self.up_blocks = [
            self._blocks("up", level, self.num_blocks[level] + (level < levels[-1]))
            for level in levels
        ]

    def _blocks(self, half, level, count):
        conditioned = half == "up" or self.conditioned_blocks == "all"
        return [
            GatedResidualBlock(
                self.filters[level],
                self.shift,
                self.dropout_rate,
                self.conditioning if conditioned else "none",
                self.num_classes,
                name=f"{half}_{level}_{index}",
                dtype=self.dtype_policy,
            )
            for index in range(count)
        ]

    def blocks(self):
        """All blocks, in the order in which they run."""
        down = [block for level in self.down_blocks for block in level]
        up = [block for level in reversed(self.up_blocks) for block in level]
        return down + up

    def build(self, x_shape, links_shape=None):
        *leading, height, width, _ = x_shape
        shapes = [
            (*leading, height // 2**level, width // 2**level, filters)
            for level, filters in enumerate(self.filters)
        ]
        for level, shape in enumerate(shapes):
            link_shape = None if links_shape is None else shape
            for block in self.down_blocks[level]:
                block.build(shape, None, link_shape)
            for block in self.up_blocks[level]:
                block.build(shape, shape, link_shape)
        for level, (upper, lower) in enumerate(itertools.pairwise(shapes)):
            self.downsamplings[level].build(upper)
            self.upsamplings[level].build(lower)
        for strategy in self.bottleneck_conditioning:
            strategy.build(shapes[-1])

    def call(self, x, links=None, labels=None, evaluation=WholeImage(), training=False):
        outputs = {}

        def run_block(block, x, shortcut=None):
            link = None if links is None else evaluation.link(links[block.name])
            x = block(x, shortcut, link, labels, evaluation=evaluation, training=training)
            outputs[block.name] = x
            return x

        def run_level(level, x):
            shortcuts = [x]
            for block in self.down_blocks[level]:
                x = run_block(block, x)
                shortcuts.append(x)
            if level == len(self.filters) - 1:
                x = shortcuts.pop()
                for strategy in self.bottleneck_conditioning:
                    x = strategy(x, labels, position=evaluation.position)
            else:
                x = evaluation.descend(
                    level,
                    self.downsamplings[level],
                    x,
                    lambda x: self.upsamplings[level](run_level(level + 1, x)),
                )
            for block in self.up_blocks[level]:
                x = run_block(block, x, shortcuts.pop())
            return x

        run_level(0, x)
        return outputs

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "filters": self.filters,
                "num_blocks": self.num_blocks,
                "shift": self.shift,
                "dropout_rate": self.dropout_rate,
                "conditioning": self.conditioning,
                "num_classes": self.num_classes,
                "conditioned_blocks": self.conditioned_blocks,
            }
        )
        return config
