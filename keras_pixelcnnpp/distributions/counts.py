"""Distributions of a sub-pixel in integers: the share of each level out of 2²⁴.

The parameters of a head are int64, in multiples of 1/4096. Only integers are used, so the results
are the same on every machine.
"""

import functools
from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.distributions import mixture, tables
from keras_pixelcnnpp.distributions.head import Cumulative
from keras_pixelcnnpp.distributions.tables import GRID_BITS, MAX_EXPONENT, UNIT, entry

# Sum of the shares of all levels of a sub-pixel. The share of each level is at least 1.
TOTAL_BITS = 24
TOTAL = 2**TOTAL_BITS
# Probabilities under a single mixture component are multiples of 2⁻³⁰.
FINE_BITS = 30
# Arguments of the logistic function are multiples of 2⁻²⁴. The function is interpolated linearly
# between the entries of a table, which are 2¹⁵ multiples apart.
ARGUMENT_BITS, STEP_BITS = 24, 15


def _spread(
    below: np.ndarray, total: np.ndarray, levels: np.ndarray, num_levels: int
) -> np.ndarray:
    """Returns the sum of the shares below levels, whose probability is `below / total`.

    It is `levels + below * (TOTAL - num_levels) // total` for `total` up to 2⁵⁰. This product may
    exceed int64, so it is divided by long division, 12 bits of the second factor at a time.
    """
    high, low = divmod(TOTAL - num_levels, 2**12)
    quotient, rest = np.divmod(below * high, total)
    return levels + (quotient << 12) + ((rest << 12) + below * low) // total


class CategoricalCounts:
    """Shares of the levels under a softmax; see `Counts`.

    Args:
        num_levels: Integer, number of levels.
        tables: Dict from names such as `"1_given_0"` to the logits that the level of an earlier
            sub-pixel adds, multiples of 1/4096.
    """

    def __init__(self, num_levels: int, tables: dict[str, np.ndarray]):
        self.num_levels = num_levels
        self.tables = {name: (table * UNIT).astype("int64") for name, table in tables.items()}

    def sub_pixel(self, parameters: np.ndarray, earlier: Sequence[np.ndarray]) -> Cumulative:
        """Returns the distribution of a sub-pixel; see `Counts.sub_pixel`."""
        channel, num_levels = len(earlier), self.num_levels
        logits = parameters[:, channel * num_levels : (channel + 1) * num_levels]
        for index, levels in enumerate(earlier):
            if self.tables:
                logits = logits + self.tables[f"{channel}_given_{index}"][levels]
        weights = _exponentials(logits)
        below = np.cumsum(weights, axis=-1) - weights
        total, rows = weights.sum(axis=-1), np.arange(len(weights))
        below = np.concatenate([below, total[:, None]], axis=-1)
        return lambda levels: _spread(below[rows, levels], total, levels, num_levels)


class MixtureCounts:
    """Shares of the levels under a mixture of discretized logistics; see `Counts`."""

    def __init__(self, channels: int, num_levels: int):
        self.channels = channels
        self.num_levels = num_levels

    def sub_pixel(self, parameters: np.ndarray, earlier: Sequence[np.ndarray]) -> Cumulative:
        """Returns the distribution of a sub-pixel; see `Counts.sub_pixel`."""
        parts = mixture.num_parameters(1, self.channels)
        parameters = parameters.reshape(len(parameters), parts, -1)
        weights = _normalized(_exponentials(parameters[:, 0]))
        for channel, levels in enumerate(earlier):
            below = self._below(parameters, earlier[:channel])
            # The posterior weight of a component, given the earlier sub-pixels.
            weights = _normalized(weights * (below(levels + 1) - below(levels) + 1))
        below, total = self._below(parameters, earlier), weights.sum(axis=-1)

        def cumulative(levels: np.ndarray) -> np.ndarray:
            # The product with the weights is shifted to 8 bits more than the total, to fit int64.
            inner = (weights * below(levels)).sum(axis=-1) >> (FINE_BITS - 8)
            return _spread(inner, total << 8, levels, self.num_levels)

        return cumulative

    def _below(self, parameters: np.ndarray, earlier: Sequence[np.ndarray]) -> Cumulative:
        """Returns the function from levels to the probability below, for each component."""
        channel, steps = len(earlier), self.num_levels - 1
        mean = parameters[:, 1 + channel] * steps
        first = 1 + 2 * self.channels + channel * (channel - 1) // 2
        for index, levels in enumerate(earlier):
            coefficient = parameters[:, first + index]
            size = entry(tables.tanh_table(UNIT), np.abs(coefficient))
            mean = mean + np.sign(coefficient) * size * (2 * levels - steps)[:, None]
        lowest = int(mixture.MIN_LOG_SCALE) * UNIT
        log_scales = np.maximum(parameters[:, 1 + self.channels + channel], lowest)
        inverse_scales = entry(inverse_scale_table(), log_scales - lowest)

        def below(levels: np.ndarray) -> np.ndarray:
            edges = (2 * levels - 1 - steps)[:, None] * UNIT
            distance = np.clip(edges - mean, -(2**28), 2**28)
            argument = distance * inverse_scales // (steps << GRID_BITS)
            found = logistic(argument)
            found[levels == 0] = 0
            found[levels == self.num_levels] = 1 << FINE_BITS
            return found

        return below


def _exponentials(logits: np.ndarray) -> np.ndarray:
    """Returns the exponentials of logits `(N, count)`, scaled to a maximum of 2³⁰."""
    return entry(
        tables.exponential_table(1 << FINE_BITS), logits.max(axis=-1, keepdims=True) - logits
    )


def _normalized(weights: np.ndarray) -> np.ndarray:
    """Scales weights so that their sum has at most about 28 bits."""
    return weights // np.maximum(weights.sum(axis=-1, keepdims=True) >> 28, 1)


@functools.cache
def inverse_scale_table() -> np.ndarray:
    """Returns `2^24 exp(7 - k / UNIT)` for k = 0, 1, …, the inverse scales, as int64."""
    lowest = tables.exponentials()[-int(mixture.MIN_LOG_SCALE) * UNIT]
    pairs = [(value, lowest) for value in tables.exponentials()]
    return tables.table_of_quotients(pairs, 2**24)


@functools.cache
def _logistic_differences() -> tuple[np.ndarray, np.ndarray]:
    """Returns a table of the logistic function from -22 to 22, and differences of its entries."""
    step = (UNIT << STEP_BITS) >> ARGUMENT_BITS
    upper = tables.logistic_table(1 << FINE_BITS, step)
    index = np.arange((MAX_EXPONENT << ARGUMENT_BITS >> STEP_BITS) + 1)
    upper = entry(upper, index)
    table = np.concatenate([(1 << FINE_BITS) - upper[:0:-1], upper])
    return table, np.append(np.diff(table), 0)


def logistic(argument: np.ndarray) -> np.ndarray:
    """Returns the logistic function of multiples of 2⁻²⁴ in multiples of 2⁻³⁰, as int64."""
    table, differences = _logistic_differences()
    end = MAX_EXPONENT << ARGUMENT_BITS
    place = np.clip(argument, -end, end) + end
    index = place >> STEP_BITS
    part = place & ((1 << STEP_BITS) - 1)
    return table[index] + (differences[index] * part >> STEP_BITS)
