"""Floating-point arithmetic for the layers and nonlinearities of a network."""

import contextvars
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.distributions.logistic_mixture import scale_to_unit
from keras_pixelcnnpp.layers.convolutions import context_value

_given_dropout = contextvars.ContextVar("given_dropout", default=None)


def is_traced() -> bool:
    """Returns whether a compiler traces the network: JAX's, or Inductor within `given_dropout`."""
    return keras.backend.backend() == "jax" or _given_dropout.get() is not None


def given_dropout(give: Callable) -> AbstractContextManager[None]:
    """Context manager in which `give(layer, shape)` replaces `layer.random_bytes(shape)`."""
    return context_value(_given_dropout, give)


def dropout_bytes(layer: keras.layers.Layer, shape: tuple) -> Tensor:
    """Returns the random bytes that a `SharedDropout` needs for an input of this shape."""
    give = _given_dropout.get()
    return layer.random_bytes(shape) if give is None else give(layer, shape)


def concat_elu(x: Tensor) -> Tensor:
    """Concatenates `elu(x)` and `elu(-x)` on the channel axis.

    Reference:
        Salimans et al. 2017, PixelCNN++, https://arxiv.org/abs/1701.05517
        (after the concatenated ReLU of Shang et al. 2016).
    """
    # Computed in float32, because bfloat16 exponentials are slow on a CPU, and concatenated
    # last, which saves a copy in the gradient.
    wide = ops.cast(x, "float32")
    if is_traced():
        # In compiled code, one exponential serves both halves, and avoids the compiler's slow
        # expm1, which would be computed again for every use. Otherwise each operation is a pass
        # over memory, and `elu` is a single operation.
        positive = wide > 0
        below = ops.exp(ops.where(positive, -wide, wide)) - 1
        halves = ops.where(positive, wide, below), ops.where(positive, below, -wide)
    else:
        halves = ops.elu(wide), ops.elu(-wide)
    return ops.concatenate([ops.cast(half, x.dtype) for half in halves], axis=-1)


class FloatArithmetic:
    """Computes layers and nonlinearities in floating point, in each layer's compute dtype.

    Networks apply their layers and nonlinearities through the arithmetic of the evaluation, so
    a different arithmetic needs no change of the layers.
    """

    def apply(self, layer: keras.layers.Layer, *inputs: Any, **arguments: Any) -> Any:
        """Calls a layer."""
        return layer(*inputs, **arguments)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Casts features to the dtype of the next layer."""
        return ops.cast(x, dtype)

    def dtype(self, layer: keras.layers.Layer) -> str:
        """Returns the dtype of the features that a layer receives."""
        return layer.compute_dtype

    scale_to_unit = staticmethod(scale_to_unit)
    concat_elu = staticmethod(concat_elu)
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
