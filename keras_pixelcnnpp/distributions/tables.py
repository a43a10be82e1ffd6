"""Tables of functions in integers, which are the same on every machine.

Arguments and results are multiples of 1/4096, or of another power of two. Exponentials are computed
in integers, and quotients by integer division.
"""

import functools

import numpy as np

GRID_BITS = 12
UNIT = 2**GRID_BITS  # grid steps per 1.0
# Beyond it, exp(-x) rounds to 0 in the widest table, which has 30 bits.
MAX_EXPONENT = 22
_ONE = 1 << 96


@functools.cache
def exponentials() -> list[int]:
    """Returns `exp(-k / UNIT)` for k from 0 to `MAX_EXPONENT * UNIT`, in multiples of 2⁻⁹⁶."""
    base = term = _ONE
    for order in range(1, 20):
        term = -term // (order * UNIT)
        base += term
    values = [_ONE]
    for _ in range(MAX_EXPONENT * UNIT):
        values.append(values[-1] * base >> 96)
    return values


def table_of_quotients(pairs: list[tuple[int, int]], factor: int) -> np.ndarray:
    """Returns `factor * numerator / denominator`, rounded, for pairs of integers, as int64.

    Repeated values at the end of the table are dropped, except the first one.
    """
    halves = ((2 * factor * above + below, 2 * below) for above, below in pairs)
    table = np.array([above // below for above, below in halves], "int64")
    return table[: np.flatnonzero(table != table[-1])[-1] + 2]


@functools.cache
def exponential_table(factor: int) -> np.ndarray:
    """Returns `factor * exp(-k / UNIT)` for k = 0, 1, …, rounded, as int64."""
    return table_of_quotients([(value, _ONE) for value in exponentials()], factor)


@functools.cache
def logistic_table(factor: int, step: int = 1) -> np.ndarray:
    """Returns `factor / (1 + exp(-k / UNIT))` for k = 0, step, …, rounded, as int64."""
    return table_of_quotients([(_ONE, _ONE + x) for x in exponentials()[::step]], factor)


@functools.cache
def tanh_table(factor: int) -> np.ndarray:
    """Returns `factor * tanh(k / UNIT)` for k = 0, 1, …, rounded, as int64."""
    return table_of_quotients([(_ONE - x, _ONE + x) for x in exponentials()[::2]], factor)


def entry(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns the entries of a table at indices >= 0. Indices beyond its end give the last one."""
    return table[np.minimum(index, len(table) - 1)]
