"""Records the layers that a network calls, so that no list of them has to be kept."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.convolutions import (
    DownRightShiftedConv2D,
    DownShiftedConv2D,
    MaskedConv2D,
    ShiftedConv2D,
    ShiftedConv2DTranspose,
    WeightNormalized,
)
from keras_pixelcnnpp.layers.evaluation import Convolution, Evaluation, LowerResolutions, Stack
from keras_pixelcnnpp.utils.backend import Nest, Tensor, inner_layers
from keras_pixelcnnpp.utils.errors import UserError


class Structure:
    """Layers and convolutions of a network, from a symbolic call.

    Args:
        network: An `AutoregressiveNetwork`.
        image_shape: `(height, width, channels)`.
        candidates: Integer, number of values under which each image is evaluated.

    Attributes:
        layers: List of the layers that the network applies.
        vertical, horizontal: The convolutions of both stacks, as `Stack`.
        num_resolutions: Integer.

    Raises:
        UserError: If the incremental pass would differ from the evaluation of whole images.
    """

    def __init__(
        self, network: keras.layers.Layer, image_shape: tuple[int, int, int], candidates: int = 1
    ):
        self._applied = _AppliedLayers()
        self.vertical, self.horizontal = Stack(), Stack()
        values = network.conditions.spec(1, candidates)
        levels = keras.KerasTensor((1, 1, *image_shape), "int32")
        _Symbolic(self._call, network)(levels, values)
        self.layers = list(self._applied.layers.values())
        self._require_recorded(network)
        self.num_resolutions = 1 + max(
            (
                one.resolution
                for stack in (self.vertical, self.horizontal)
                for one in stack.convolutions
            ),
            default=0,
        )

    def _call(self, network: keras.layers.Layer, levels: Tensor, values: Tensor) -> Tensor:
        given = self._applied, network.encoder(values)
        pixels = network.to_pixels(levels, Evaluation(*given))
        down, right = (DownShiftedConv2D,), (DownRightShiftedConv2D, MaskedConv2D)
        vertical = _Recording(self.vertical, pixels, down, *given)
        horizontal = _Recording(self.horizontal, pixels, right, *given)
        features = network.call_vertical_stack(pixels, vertical)
        return network.call_horizontal_stack(pixels, features, horizontal)

    def _require_recorded(self, network: keras.layers.Layer) -> None:
        """Raises a `UserError` for a convolution that would get pixels without their neighbors."""
        stacks = self.vertical, self.horizontal
        recorded = {id(one.layer) for stack in stacks for one in stack.convolutions}
        # The encoder is evaluated once, for whole images.
        recorded = recorded.union(map(id, inner_layers(network.encoder)))
        for layer in inner_layers(network):
            size = np.max(getattr(layer, "kernel_size", 1))
            has_neighbors = size > 1 or getattr(layer, "strict", False)
            # Transposes belong to the `descend` of a downsampling.
            if isinstance(layer, ShiftedConv2DTranspose) or not (layer.built and has_neighbors):
                continue
            if id(layer) not in recorded:
                raise UserError(
                    "The network can't be evaluated pixel by pixel. Expected each convolution to "
                    "be called through the evaluation, by evaluation.convolve(layer, x). "
                    f"Received: a network that does not call {layer.path!r} in this way"
                )

    def kernels(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns kernels and biases of all weight-normalized layers, by path."""
        layers = [layer for layer in self.layers if isinstance(layer, WeightNormalized)]
        return {layer.path: layer.kernel_and_bias() for layer in layers}


class _Symbolic(keras.layers.Layer):
    """A layer that calls a function symbolically.

    Under JAX, Keras would take the evaluation, an argument of inner layers, for a tensor.
    """

    def __init__(self, function: Any, network: keras.layers.Layer):
        super().__init__()
        # A closure, because Keras would track the network as a part of this layer.
        self._function = lambda *inputs: function(network, *inputs)

    def call(self, levels: Tensor, values: Tensor) -> Tensor:
        return self._function(levels, values)


class _AppliedLayers(FloatArithmetic):
    """Arithmetic that records the layers that it applies, by their path."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = {}

    def apply(self, layer: keras.layers.Layer, *inputs: Any, **arguments: Any) -> Any:
        known = self.layers.setdefault(layer.path, layer)
        if known is not layer and isinstance(layer, WeightNormalized):
            raise UserError(
                "The network can't be evaluated pixel by pixel. Expected layers of different "
                f"names. Received: two layers {layer.path!r}"
            )
        return super().apply(layer, *inputs, **arguments)


class _Recording(Evaluation):
    """Records the convolutions of a stack.

    Args:
        stack: The `Stack` to which they are added.
        pixels: The network's input.
        kinds: The classes of convolutions that this stack may use.
        arithmetic, condition: See `Evaluation`.
    """

    def __init__(
        self,
        stack: Stack,
        pixels: Tensor,
        kinds: tuple[type, ...],
        arithmetic: FloatArithmetic,
        condition: Sequence[Nest],
    ):
        super().__init__(arithmetic, condition)
        self.stack = stack
        self.pixels = pixels
        self.kinds = kinds

    def convolve(self, layer: ShiftedConv2D, x: Tensor, strides: int = 1) -> Tensor:
        on_pixels = x is self.pixels
        fits = layer.strict == on_pixels and layer.strides == strides
        if not fits or not isinstance(layer, self.kinds):
            names = " or ".join(kind.__name__ for kind in self.kinds)
            where = "the pixels" if on_pixels else "features"
            raise UserError(
                f"The network can't be evaluated pixel by pixel. Expected here: {names} with "
                f"strides={strides}, which excludes the current pixel (strict=True or mask='A') "
                "if it is applied to the pixels, and only then. Received: "
                f"{type(layer).__name__} {layer.name!r} with strides={layer.strides}, which "
                f"{'excludes' if layer.strict else 'includes'} the current pixel, for {where}"
            )
        if any(one.layer is layer for one in self.stack.convolutions):  # it has a single cache
            raise UserError(
                "The network can't be evaluated pixel by pixel. Expected each convolution to be "
                f"called once. Received: two calls of {layer.name!r}"
            )
        one = Convolution(layer, self.resolution, x.shape[1], on_pixels)
        self.stack.convolutions.append(one)
        return super().convolve(layer, x)

    def descend(self, downsampling: ShiftedConv2D, x: Tensor, lower: LowerResolutions) -> Tensor:
        x = lower(self.convolve(downsampling, x, strides=2), self._below())
        self.stack.upsampled[self.resolution] = (downsampling, x.shape[1], x.shape[-1])
        return x
