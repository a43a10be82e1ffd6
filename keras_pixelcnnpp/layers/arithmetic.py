"""How the layers and nonlinearities of a network are computed."""

import contextvars
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.layers.convolutions import context_value

_given_dropout = contextvars.ContextVar("given_dropout", default=None)


def given_dropout(give: Callable) -> AbstractContextManager[None]:
    """A context in which `give(layer, shape)` stands in for `layer.random_bytes(shape)`."""
    return context_value(_given_dropout, give)


def dropout_bytes(layer: keras.layers.Layer, shape: tuple) -> Tensor:
    """The random bytes of a `SharedDropout` for an input of this shape."""
    give = _given_dropout.get()
    return layer.random_bytes(shape) if give is None else give(layer, shape)


def concat_elu(x: Tensor) -> Tensor:
    """Concatenates `elu(x)` and `elu(-x)` on the channel axis.

    Reference:
        Salimans et al. 2017, PixelCNN++, https://arxiv.org/abs/1701.05517
        (after the concatenated ReLU of Shang et al. 2016).
    """
    # In float32, and before the concatenation: bfloat16 exponentials are slow on a CPU, and the
    # gradient of this order needs one copy less.
    wide = ops.cast(x, "float32")
    if keras.backend.backend() == "jax" or _given_dropout.get() is not None:
        # Where it is compiled, under torch known by its dropout being given: one exponential for
        # both halves, and not the compiler's slow expm1, which it computes again for every use.
        # Elsewhere each operation is a pass over memory, and elu alone is one.
        positive = wide > 0
        below = ops.exp(ops.where(positive, -wide, wide)) - 1
        halves = ops.where(positive, wide, below), ops.where(positive, below, -wide)
    else:
        halves = ops.elu(wide), ops.elu(-wide)
    return ops.concatenate([ops.cast(half, x.dtype) for half in halves], axis=-1)


class FloatArithmetic:
    """Floating point, in the compute dtype of each layer.

    Networks apply their layers and nonlinearities through the arithmetic of the evaluation, so
    that another arithmetic changes no layer.
    """

    def apply(self, layer: keras.layers.Layer, *inputs: Any, **arguments: Any) -> Any:
        """Calls a layer."""
        return layer(*inputs, **arguments)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Casts features to the dtype of a layer that follows."""
        return ops.cast(x, dtype)

    def dtype(self, layer: keras.layers.Layer) -> str:
        """The dtype of the features that a layer is given."""
        return layer.compute_dtype

    concat_elu = staticmethod(concat_elu)
    elu = staticmethod(ops.elu)
    matmul = staticmethod(ops.matmul)
    tanh = staticmethod(ops.tanh)
    softmax = staticmethod(ops.softmax)

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """The product with a number."""
        return x * factor

    def gated(self, value: Tensor, gate: Tensor) -> Tensor:
        """The product of features and the logistic function of their gates."""
        # In float32, as in `concat_elu`.
        return value * ops.cast(ops.sigmoid(ops.cast(gate, "float32")), value.dtype)

    def normalize(self, x: Tensor, epsilon: float) -> Tensor:
        """Normalizes the channels of each pixel to mean 0 and variance 1."""
        wide = ops.cast(x, "float32")
        # Not ops.moments, whose mean of squares less square of the mean may be negative.
        centered = wide - ops.mean(wide, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        return ops.cast(centered * ops.rsqrt(variance + epsilon), x.dtype)
