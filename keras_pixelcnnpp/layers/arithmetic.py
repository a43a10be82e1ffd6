"""Floating-point arithmetic for the layers and nonlinearities of a network."""

import copy
from collections.abc import Callable
from typing import Any, Self

import keras
from keras import ops

from keras_pixelcnnpp.distributions.levels import scale_to_unit
from keras_pixelcnnpp.utils.backend import Shape, Tensor


def concat_elu(x: Tensor, in_compiled_code: bool = False) -> Tensor:
    """Concatenates `elu(x)` and `elu(-x)` on the channel axis.

    `in_compiled_code` chooses the faster of two equal computations.

    Reference:
        Salimans et al. 2017, PixelCNN++, https://arxiv.org/abs/1701.05517
        (after the concatenated ReLU of Shang et al. 2016).
    """
    # Computed in float32, because bfloat16 exponentials are slow on a CPU, and concatenated
    # last, which saves a copy in the gradient.
    wide = ops.cast(x, "float32")
    if in_compiled_code:
        # One exponential serves both halves, and avoids the compiler's slow expm1, which would be
        # computed again for every use. Without a compiler, each operation is a pass over memory,
        # and `elu` is a single operation.
        positive = wide > 0
        below = ops.exp(ops.where(positive, -wide, wide)) - 1
        halves = ops.where(positive, wide, below), ops.where(positive, below, -wide)
    else:
        halves = ops.elu(wide), ops.elu(-wide)
    return ops.concatenate([ops.cast(half, x.dtype) for half in halves], axis=-1)


class FloatArithmetic:
    """Computes layers and nonlinearities in floating point, in each layer's compute dtype.

    Networks apply their layers and nonlinearities through the arithmetic of the evaluation, so
    a different arithmetic needs no change of the layers. The arithmetic also has the options of a
    single call of a network, because other threads may call the same layers.

    Args:
        kernels: Dict from the paths of weight-normalized layers to their kernels and biases. Other
            layers use their own. A loop over pixels thus normalizes each kernel once.
        draw: Optional function `(layer, shape)` that returns the random bytes of dropout for an
            input of this shape, in place of `layer.random_bytes(shape)`, in compiled code.
    """

    def __init__(
        self,
        kernels: dict[str, tuple[Tensor, Tensor]] | None = None,
        draw: Callable[[keras.layers.Layer, Shape], Tensor] | None = None,
    ):
        self.kernels = kernels or {}
        self._draw = draw

    def with_kernels(self, kernels: dict[str, tuple[Tensor, Tensor]]) -> Self:
        """Returns the same arithmetic with other kernels and biases."""
        other = copy.copy(self)
        other.kernels = kernels
        return other

    def random_bytes(self, layer: keras.layers.Layer, shape: Shape) -> Tensor:
        """Returns the random bytes that a `SharedDropout` needs for an input of this shape."""
        return layer.random_bytes(shape) if self._draw is None else self._draw(layer, shape)

    def apply(self, layer: keras.layers.Layer, *inputs: Any, **arguments: Any) -> Any:
        """Calls a layer, which receives the arithmetic if its `takes_arithmetic` is true."""
        return layer(*inputs, **self.with_itself(layer, arguments))

    def with_itself(self, layer: keras.layers.Layer, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns the arguments of a call of a layer, with the arithmetic if it takes one."""
        if getattr(layer, "takes_arithmetic", False):
            return {**arguments, "arithmetic": self}
        return arguments

    def concat_elu(self, x: Tensor) -> Tensor:
        """Returns `concat_elu(x)`."""
        # JAX always compiles, and torch's compiler is the only one that gives the dropout.
        return concat_elu(x, keras.backend.backend() == "jax" or self._draw is not None)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Casts features to the dtype of the next layer."""
        return ops.cast(x, dtype)

    def dtype(self, layer: keras.layers.Layer) -> str:
        """Returns the dtype of the features that a layer receives."""
        return layer.compute_dtype

    scale_to_unit = staticmethod(scale_to_unit)
    elu = staticmethod(ops.elu)
    matmul = staticmethod(ops.matmul)
    tanh = staticmethod(ops.tanh)
    softmax = staticmethod(ops.softmax)

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """Multiplies features by a number."""
        return x * factor

    def gated(self, value: Tensor, gate: Tensor) -> Tensor:
        """Returns `value * sigmoid(gate)`."""
        # In float32 for the same reason as in `concat_elu`.
        return value * ops.cast(ops.sigmoid(ops.cast(gate, "float32")), value.dtype)

    def normalize(self, x: Tensor, epsilon: float) -> Tensor:
        """Normalizes the channels of each pixel to mean 0 and variance 1."""
        wide = ops.cast(x, "float32")
        # Not `ops.moments`: it computes E[x²] − E[x]², which rounding can make negative.
        centered = wide - ops.mean(wide, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        return ops.cast(centered * ops.rsqrt(variance + epsilon), x.dtype)
