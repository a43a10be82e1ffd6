"""Fixed point held in float64: the same numbers on every machine, to the last bit.

All weights and intermediate values are multiples of 1/4096. Products are multiples of 1/4096², and
sums of them stay so far below 2⁵³ of these that float64 holds each partial sum exactly. So no
order, batch size, processor or backend can change a result. Exponentials come from tables, made of
whole numbers, and quotients from divisions of whole numbers.
"""

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import Tensor, look_up, matmul
from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.conditioning import LabelConditioning
from keras_pixelcnnpp.layers.convolutions import WeightNormalized

GRID_BITS = 12
UNIT = 2**GRID_BITS  # the multiples in 1
# The inputs of layers saturate here, so that the weights alone tell whether sums are exact.
LIMIT = 2**15
# What the absolute values of the weights of one output may add up to: times `LIMIT` and `UNIT²` it
# is below 2⁵³, and float32 holds a weight.
MAX_WEIGHT = 2**10
# From here on the exponential of the negative is 0 in the widest table, of 30 bits.
MAX_EXPONENT = 22
_ONE = 1 << 96


@functools.cache
def exponentials() -> list[int]:
    """`exp(-k / UNIT)` for k up to `MAX_EXPONENT * UNIT`, in multiples of 2⁻⁹⁶."""
    base = term = _ONE
    for order in range(1, 20):
        term = -term // (order * UNIT)
        base += term
    values = [_ONE]
    for _ in range(MAX_EXPONENT * UNIT):
        values.append(values[-1] * base >> 96)
    return values


def table_of_quotients(pairs: list[tuple[int, int]], factor: int) -> np.ndarray:
    """`factor * numerator / denominator`, rounded, for pairs of whole numbers: int64.

    The table ends where nothing changes any more.
    """
    halves = ((2 * factor * above + below, 2 * below) for above, below in pairs)
    table = np.array([above // below for above, below in halves], "int64")
    return table[: np.flatnonzero(table != table[-1])[-1] + 2]


@functools.cache
def exponential_table(factor: int) -> np.ndarray:
    """`factor * exp(-k / UNIT)`, rounded: int64."""
    return table_of_quotients([(value, _ONE) for value in exponentials()], factor)


@functools.cache
def logistic_table(factor: int, step: int = 1) -> np.ndarray:
    """`factor / (1 + exp(-k / UNIT))` for every `step`-th k, rounded: int64."""
    return table_of_quotients([(_ONE, _ONE + x) for x in exponentials()[::step]], factor)


@functools.cache
def tanh_table(factor: int) -> np.ndarray:
    """`factor * tanh(k / UNIT)`, rounded: int64."""
    return table_of_quotients([(_ONE - x, _ONE + x) for x in exponentials()[::2]], factor)


def as_whole_numbers(x: Tensor) -> Tensor:
    """Features as multiples of 1/4096: int32."""
    return ops.cast(_saturate(x) * UNIT, "int32")


def entry(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The entries of a table at indices >= 0; beyond its end, the last one."""
    return table[np.minimum(index, len(table) - 1)]


class FixedPointArithmetic(FloatArithmetic):
    """Multiples of 1/4096, in float64; see `FloatArithmetic`."""

    def __init__(self) -> None:
        # Tensors made here, since torch records what a pass does. float32 holds their entries.
        self._exponential, self._logistic, self._tanh = (
            ops.convert_to_tensor((table(UNIT) / UNIT).astype("float32"))
            for table in (exponential_table, logistic_table, tanh_table)
        )
        self._weights = ops.convert_to_tensor(exponential_table(2**30).astype("int32"))

    def apply(self, layer: keras.layers.Layer, *inputs: Any, **arguments: Any) -> Any:
        """Calls a layer, and rounds its outputs."""
        # Not the layer itself: Keras would round the inputs to its compute dtype.
        if not isinstance(layer, WeightNormalized | LabelConditioning):
            return layer.call(*inputs, **arguments)
        x, *others = inputs
        return _round(layer.call(_saturate(x), *others, **arguments))

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Rounds a tensor of any dtype."""
        return _saturate(_round(ops.cast(x, "float64")))

    def dtype(self, layer: keras.layers.Layer) -> str:
        """The dtype of the features that a layer is given."""
        return "float64"

    def concat_elu(self, x: Tensor) -> Tensor:
        """See `arithmetic.concat_elu`."""
        positive, below = x > 0, self._elu_of_negative(x)
        halves = ops.where(positive, x, below), ops.where(positive, below, -x)
        return ops.concatenate(halves, axis=-1)

    def elu(self, x: Tensor) -> Tensor:
        """`x`, or `exp(x) - 1` where it is negative."""
        return ops.where(x > 0, x, self._elu_of_negative(x))

    def _elu_of_negative(self, x: Tensor) -> Tensor:
        """`exp(-|x|) - 1`."""
        return _at(self._exponential, x) - 1.0

    def tanh(self, x: Tensor) -> Tensor:
        """The hyperbolic tangent."""
        size = _at(self._tanh, x)
        return ops.where(x < 0, -size, size)

    def gated(self, value: Tensor, gate: Tensor) -> Tensor:
        """The product of features and the logistic function of their gates."""
        open_ = _at(self._logistic, gate)
        return _round(_saturate(value) * ops.where(gate < 0, 1.0 - open_, open_))

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """The product of matrices."""
        return _round(matmul(_saturate(x), y))

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """The product with a number between 0 and 1."""
        return _round(_saturate(x) * (round(factor * 2**20) / 2**20))

    def softmax(self, x: Tensor, axis: int = -1) -> Tensor:
        """The softmax of a few numbers."""
        below = ops.cast((ops.max(x, axis=axis, keepdims=True) - x) * UNIT, "int64")
        index = ops.minimum(below, self._weights.shape[0] - 1)
        weights = ops.cast(look_up(self._weights, index), "int64")
        return _quotient(weights * UNIT, ops.sum(weights, axis=axis, keepdims=True))

    def normalize(self, x: Tensor, epsilon: float) -> Tensor:
        """Normalizes the channels of each pixel to mean 0 and variance 1."""
        # In whole numbers of 64 bits, which hold the squares of numbers up to 512.
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
    """The entries of a table in units for the absolute values of x: float64."""
    index = ops.cast(ops.minimum(ops.abs(x) * UNIT, table.shape[0] - 1), "int32")
    return ops.cast(look_up(table, index), "float64")


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient of whole numbers that is meant in units, rounded: float64."""
    whole = (2 * numerator + denominator) // (2 * denominator)
    return ops.cast(whole, "float64") / UNIT


def _root(x: Tensor) -> Tensor:
    """The largest whole numbers whose squares are at most `x`, whole numbers below 2^62."""
    root = ops.cast(ops.sqrt(ops.cast(x, "float64")), "int64")
    # Whichever way the square root was rounded.
    root = root - ops.cast(root * root > x, "int64")
    return root + ops.cast((root + 1) * (root + 1) <= x, "int64")
