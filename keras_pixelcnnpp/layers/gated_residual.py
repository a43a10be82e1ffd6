"""Gated residual blocks, and the U-shaped stack of blocks over several resolutions."""

import itertools
from typing import Any, Self

import keras
from keras import ops

from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.conditioning import condition
from keras_pixelcnnpp.layers.convolutions import (
    DownRightShiftedConv2D,
    DownRightShiftedConv2DTranspose,
    DownShiftedConv2D,
    DownShiftedConv2DTranspose,
    WeightNormalizedDense,
)
from keras_pixelcnnpp.layers.evaluation import Evaluation
from keras_pixelcnnpp.layers.network_config import NetworkConfig
from keras_pixelcnnpp.utils.backend import SeedGenerator, Shape, Tensor, Tensors
from keras_pixelcnnpp.utils.checks import require_choice, require_number


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class SharedDropout(keras.layers.Layer):
    """Elementwise dropout with one mask for all candidate labels of an image.

    Independent masks would add noise that hides the differences between the candidates.

    Args:
        rate: Float in [0, 1), fraction of elements to set to zero, rounded to a multiple of 1/256.
        seed: Optional integer, random seed.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape: `(batch, candidates, ...)`, floats.
    """

    takes_arithmetic = True

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        require_number("rate", rate, "[0, 1)")
        self.rate = rate
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self._dropped_bytes = min(round(rate * 256), 255)

    def call(
        self,
        x: Tensor,
        training: bool = False,
        arithmetic: FloatArithmetic = FloatArithmetic(),
    ) -> Tensor:
        if not training or self._dropped_bytes == 0:
            return x
        drawn = arithmetic.random_bytes(self, ops.shape(x))
        kept = ops.cast(drawn >= self._dropped_bytes, x.dtype)
        return x * (kept * (256 / (256 - self._dropped_bytes)))

    def random_bytes(self, shape: Shape) -> Tensor:
        """Returns random bytes for an input of this shape, uint8 `(batch, 1, ...)`."""
        # A random byte suffices for each element, and costs a quarter of a random float.
        words = keras.random.randint(
            (shape[0], 1, *shape[2:-1], -(-shape[-1] // 4)),
            -(2**31),
            2**31 - 1,
            dtype="int32",
            seed=self.seed_generator,
        )
        return ops.view(words, "uint8")[..., : shape[-1]]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


# Convolutions within a resolution or to a lower one, and their transposes.
_SHIFTED_AND_BACK = {
    "down": (DownShiftedConv2D, DownShiftedConv2DTranspose),
    "down_right": (DownRightShiftedConv2D, DownRightShiftedConv2DTranspose),
}


class _Configured(keras.layers.Layer):
    """Base class of layers with an argument `config`, a `NetworkConfig`."""

    def get_config(self) -> dict:
        return {**super().get_config(), "shift": self.shift, "config": self.config.get_config()}

    @classmethod
    def from_config(cls, config: dict) -> Self:
        return cls(**{**config, "config": NetworkConfig.from_config(config["config"])})


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class GatedResidualBlock(_Configured):
    """Gated residual block with optional shortcut, link to the other stack, and conditioning.

        hidden = conv(concat_elu(x)) + dense(concat_elu(shortcut)) + link
        a, b   = split(conv(dropout(concat_elu(condition(hidden)))))
        output = x + a * sigmoid(b)

    Args:
        filters: Integer, number of channels of input and output.
        shift: `"down"` or `"down_right"`, the kind of shifted convolution.
        config: `NetworkConfig`, of which a block uses the dropout rate and the conditioning.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Features `(batch, candidates, height, width, filters)`.
        shortcut: Optional features of the same height and width, with any number of channels.
        link: Optional projected features of the other stack, with the shape of `x`.
        evaluation: `Evaluation` that applies the layers, and has the condition. The default
            evaluates whole images.
        training: Boolean, whether dropout is active.

    Returns:
        Features with the shape of `x`, and with the candidates of the condition if it is used.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> GatedResidualBlock(8)(keras.ops.ones((2, 1, 4, 4, 8))).shape
    (2, 1, 4, 4, 8)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.5; van den Oord et al. 2016, Conditional Image
        Generation with PixelCNN Decoders, eq. 4 (gate and label bias).
    """

    def __init__(
        self,
        filters: int,
        shift: str = "down",
        config: NetworkConfig = NetworkConfig(),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        require_choice("shift", shift, tuple(_SHIFTED_AND_BACK))
        self.filters = filters
        self.shift = shift
        self.config = config
        convolution, _ = _SHIFTED_AND_BACK[shift]
        dtype = self.dtype_policy
        self.input_conv = convolution(filters, name="input_conv", dtype=dtype)
        self.shortcut_dense: WeightNormalizedDense | None = None
        self.hidden_conditioning = config.strategies("hidden", dtype)
        self.dropout = SharedDropout(config.dropout_rate, name="dropout", dtype=dtype)
        # Small, so that each block is near the identity at first, as in a shallow network.
        self.gate_conv = convolution(
            2 * filters, initial_scale=0.135, name="gate_conv", dtype=dtype
        )
        self.gate_conditioning = config.strategies("gate", dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "filters": self.filters}

    def build(self, x_shape: Shape, shortcut_shape: Shape | None = None) -> None:
        double_shape = (*x_shape[:-1], 2 * self.filters)
        self.input_conv.build(double_shape)
        if shortcut_shape is not None:
            self.shortcut_dense = WeightNormalizedDense(
                self.filters, name="shortcut_dense", dtype=self.dtype_policy
            )
            self.shortcut_dense.build((*shortcut_shape[:-1], 2 * shortcut_shape[-1]))
        for strategy in self.hidden_conditioning:
            strategy.build(x_shape)
        self.dropout.build(double_shape)
        self.gate_conv.build(double_shape)
        for strategy in self.gate_conditioning:
            strategy.build(double_shape)

    def call(
        self,
        x: Tensor,
        shortcut: Tensor | None = None,
        link: Tensor | None = None,
        evaluation: Evaluation = Evaluation(),
        training: bool = False,
    ) -> Tensor:
        arithmetic = evaluation.arithmetic
        hidden = evaluation.convolve(self.input_conv, arithmetic.concat_elu(x))
        if shortcut is not None:
            shortcut = arithmetic.concat_elu(shortcut)
            hidden = hidden + arithmetic.apply(self.shortcut_dense, shortcut)
        if link is not None:
            hidden = hidden + link
        hidden = condition(self.hidden_conditioning, hidden, evaluation)
        hidden = arithmetic.concat_elu(hidden)
        hidden = arithmetic.apply(self.dropout, hidden, training=training)
        gate = evaluation.convolve(self.gate_conv, hidden)
        gate = condition(self.gate_conditioning, gate, evaluation)
        value, gate = ops.split(gate, 2, axis=-1)
        return x + arithmetic.gated(value, gate)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class ResidualStack(_Configured):
    """U-shaped stack of gated residual blocks over several resolutions.

    On the way down, each resolution has `num_blocks` blocks. On the way up, resolutions except the
    lowest have one more, and each block has a shortcut from the features on the way down.

    Args:
        config: `NetworkConfig`, with one number of filters and of blocks for each resolution,
            highest resolution first. Except for `conditioned_blocks="all"`, only the blocks on the
            way up are conditioned. The way down is then computed once for all candidate labels.
        shift: `"down"` for the vertical stack, `"down_right"` for the horizontal stack.
        **kwargs: See `GatedResidualBlock`.

    Call arguments:
        x: Features after the stem, `(batch, candidates, height, width, filters[0])`.
        links: Optional dict from the name of a block to projected features of the other stack.
        evaluation, training: See `GatedResidualBlock`.

    Returns:
        Ordered dict from the name of each block to its output. The last is the stack's result.

    Reference:
        Salimans et al. 2017, PixelCNN++, figure 2.
    """

    def __init__(
        self,
        config: NetworkConfig,
        shift: str = "down",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.shift = shift
        self.config = config
        self.filters = tuple(config.filters)
        num_blocks, dtype = config.num_blocks, self.dtype_policy
        way_down = config if config.conditioned_blocks == "all" else config.without_conditioning()
        resolutions = range(len(self.filters))
        down, up = _SHIFTED_AND_BACK[shift]

        def blocks(half: str, resolution: int, count: int) -> list[GatedResidualBlock]:
            return [
                GatedResidualBlock(
                    self.filters[resolution],
                    shift,
                    config if half == "up" else way_down,
                    name=f"{half}_{resolution}_{index}",
                    dtype=dtype,
                )
                for index in range(count)
            ]

        self.down_blocks = [
            blocks("down", resolution, num_blocks[resolution]) for resolution in resolutions
        ]
        self.downsamplings = [
            down(width, strides=2, name=f"downsampling_{resolution}", dtype=dtype)
            for resolution, width in enumerate(self.filters[1:])
        ]
        self.bottleneck_conditioning = config.strategies("bottleneck", dtype)
        self.upsamplings = [
            up(width, name=f"upsampling_{resolution}", dtype=dtype)
            for resolution, width in enumerate(self.filters[:-1])
        ]
        self.up_blocks = [
            blocks("up", resolution, num_blocks[resolution] + (resolution < resolutions[-1]))
            for resolution in resolutions
        ]

    def blocks(self) -> list[GatedResidualBlock]:
        """Returns all blocks in the order of evaluation."""
        down = [block for blocks in self.down_blocks for block in blocks]
        up = [block for blocks in reversed(self.up_blocks) for block in blocks]
        return down + up

    def build(self, x_shape: Shape) -> None:
        *leading, height, width, _ = x_shape
        shapes = [
            (*leading, height // 2**resolution, width // 2**resolution, filters)
            for resolution, filters in enumerate(self.filters)
        ]
        for resolution, shape in enumerate(shapes):
            for block in self.down_blocks[resolution]:
                block.build(shape)
            for block in self.up_blocks[resolution]:
                block.build(shape, shape)
        for resolution, (upper, lower) in enumerate(itertools.pairwise(shapes)):
            self.downsamplings[resolution].build(upper)
            self.upsamplings[resolution].build(lower)
        for strategy in self.bottleneck_conditioning:
            strategy.build(shapes[-1])

    def call(
        self,
        x: Tensor,
        links: Tensors | None = None,
        evaluation: Evaluation = Evaluation(),
        training: bool = False,
    ) -> Tensors:
        outputs, apply = {}, evaluation.arithmetic.apply

        def run_from(resolution: int, x: Tensor, evaluation: Evaluation) -> Tensor:
            def run_block(
                block: GatedResidualBlock, x: Tensor, shortcut: Tensor | None = None
            ) -> Tensor:
                link = None if links is None else evaluation.link(links[block.name])
                x = apply(block, x, shortcut, link, evaluation=evaluation, training=training)
                outputs[block.name] = x
                return x

            def run_lower(x: Tensor, below: Evaluation) -> Tensor:
                return apply(self.upsamplings[resolution], run_from(resolution + 1, x, below))

            shortcuts = [x]
            for block in self.down_blocks[resolution]:
                x = run_block(block, x)
                shortcuts.append(x)
            if resolution == len(self.filters) - 1:
                x = shortcuts.pop()
                x = condition(self.bottleneck_conditioning, x, evaluation)
            else:
                x = evaluation.descend(self.downsamplings[resolution], x, run_lower)
            for block in self.up_blocks[resolution]:
                x = run_block(block, x, shortcuts.pop())
            return x

        run_from(0, x, evaluation)
        return outputs
