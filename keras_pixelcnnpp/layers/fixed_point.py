"""Fixed-point arithmetic in float64, which gives bit-identical results on every machine.

All weights and intermediate values are multiples of 1/4096. Their products are multiples of
1/4096², and sums of products stay below 2⁵³/4096², so float64 represents each partial sum exactly.
Results therefore do not depend on summation order, batch size, processor or backend. Exponentials
come from tables that are computed in integers, and quotients from integer division.
"""

from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.distributions.tables import (
    GRID_BITS,
    UNIT,
    exponential_table,
    logistic_table,
    tanh_table,
)
from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.conditioning import Conditioning
from keras_pixelcnnpp.layers.convolutions import WeightNormalized
from keras_pixelcnnpp.utils.backend import Tensor, matmul
from keras_pixelcnnpp.utils.indexing import look_up

# Layer inputs are clipped to ±LIMIT, so that exactness depends on the weights alone.
LIMIT = 2**15
# Upper bound of the sum of absolute weights of one output: MAX_WEIGHT * LIMIT * UNIT² is below 2⁵³,
# and float32 represents each weight exactly.
MAX_WEIGHT = 2**10


def as_whole_numbers(x: Tensor) -> Tensor:
    """Converts features to multiples of 1/4096, as int32."""
    return ops.cast(_saturate(x) * UNIT, "int32")


class FixedPointArithmetic(FloatArithmetic):
    """Computes layers and nonlinearities in multiples of 1/4096, as float64.

    `FloatArithmetic` documents the methods. Here, `scale` needs a factor between 0 and 1, and
    `softmax` a short axis.
    """

    def __init__(self) -> None:
        super().__init__()
        # Not created in a pass, which torch records. float32 represents the entries exactly.
        self._exponential, self._logistic, self._tanh = (
            ops.convert_to_tensor((table(UNIT) / UNIT).astype("float32"))
            for table in (exponential_table, logistic_table, tanh_table)
        )
        self._weights = ops.convert_to_tensor(exponential_table(2**30).astype("int32"))

    def apply(self, layer: keras.layers.Layer, *inputs: Any, **arguments: Any) -> Any:
        # `layer.call`, because `layer(...)` would cast the inputs to the layer's compute dtype.
        arguments = self.with_itself(layer, arguments)
        if not isinstance(layer, WeightNormalized | Conditioning):
            return layer.call(*inputs, **arguments)
        x, *others = inputs
        return _round(layer.call(_saturate(x), *others, **arguments))

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        return _saturate(_round(ops.cast(x, "float64")))

    def dtype(self, layer: keras.layers.Layer) -> str:
        return "float64"

    def scale_to_unit(self, levels: Tensor, num_levels: int) -> Tensor:
        # In integers: XLA fuses the float32 product and difference, which changes the rounding.
        steps = num_levels - 1
        return _quotient((2 * ops.cast(levels, "int32") - steps) * UNIT, steps)

    def concat_elu(self, x: Tensor) -> Tensor:
        positive, below = x > 0, self._elu_of_negative(x)
        halves = ops.where(positive, x, below), ops.where(positive, below, -x)
        return ops.concatenate(halves, axis=-1)

    def elu(self, x: Tensor) -> Tensor:
        return ops.where(x > 0, x, self._elu_of_negative(x))

    def _elu_of_negative(self, x: Tensor) -> Tensor:
        """Returns `exp(-|x|) - 1`."""
        return _at(self._exponential, x) - 1.0

    def tanh(self, x: Tensor) -> Tensor:
        size = _at(self._tanh, x)
        return ops.where(x < 0, -size, size)

    def gated(self, value: Tensor, gate: Tensor) -> Tensor:
        open_ = _at(self._logistic, gate)
        return _round(_saturate(value) * ops.where(gate < 0, 1.0 - open_, open_))

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        return _round(matmul(_saturate(x), y))

    def scale(self, x: Tensor, factor: float) -> Tensor:
        return _round(_saturate(x) * (round(factor * 2**20) / 2**20))

    def softmax(self, x: Tensor, axis: int = -1) -> Tensor:
        below = ops.cast((ops.max(x, axis=axis, keepdims=True) - x) * UNIT, "int64")
        index = ops.minimum(below, self._weights.shape[0] - 1)
        weights = ops.cast(look_up(self._weights, index), "int64")
        return _quotient(weights * UNIT, ops.sum(weights, axis=axis, keepdims=True))

    def normalize(self, x: Tensor, epsilon: float) -> Tensor:
        # Values are clipped to ±512, so that the sums of their squares fit into int64.
        whole = ops.cast(ops.clip(x, -512.0, 512.0) * UNIT, "int64")
        count = x.shape[-1]
        centered = whole - (2 * ops.sum(whole, axis=-1, keepdims=True) + count) // (2 * count)
        squares = ops.sum(centered * centered, axis=-1, keepdims=True) // count
        deviation = _root(squares * UNIT + round(epsilon * UNIT**3))
        return _quotient(centered * (UNIT * 2 ** (GRID_BITS // 2)), deviation)


def _round(x: Tensor) -> Tensor:
    return ops.round(x * UNIT) / UNIT


def _saturate(x: Tensor) -> Tensor:
    return ops.clip(x, -LIMIT, LIMIT)


def _at(table: Tensor, x: Tensor) -> Tensor:
    """Looks up `|x|` in a table with one entry per grid step; returns float64."""
    index = ops.cast(ops.minimum(ops.abs(x) * UNIT, table.shape[0] - 1), "int32")
    return ops.cast(look_up(table, index), "float64")


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divides integers, rounds, and interprets the result in grid steps; returns float64."""
    whole = (2 * numerator + denominator) // (2 * denominator)
    return ops.cast(whole, "float64") / UNIT


def _root(x: Tensor) -> Tensor:
    """Returns the integer square root, rounded down, of integers below 2⁶²."""
    root = ops.cast(ops.sqrt(ops.cast(x, "float64")), "int64")
    # Corrects the rounding of the float64 square root in either direction.
    root = root - ops.cast(root * root > x, "int64")
    return root + ops.cast((root + 1) * (root + 1) <= x, "int64")
