"""Checks of arguments, so that all classes word their errors alike."""

import math

import numpy as np


def require_positive_integer(name, value):
    """Raises a `ValueError` unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a positive integer. "
            f"Received: {name}={value!r}"
        )


def require_at_most(name, value, limit):
    """Raises a `ValueError` if `value` is above `limit`.

    For counts of layers: a configuration from somebody else must not keep a process busy for ever.
    """
    if value > limit:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected an integer of at most {limit}. "
            f"Received: {name}={value!r:.40}"
        )


def require_rate(name, value):
    """Raises a `ValueError` unless `0 <= value < 1`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a number in [0, 1). "
            f"Received: {name}={value!r}"
        )


def require_positive_number(name, value):
    """Raises a `ValueError` unless `value` is a finite number above 0."""
    if not (_is_number(value) and 0 < value < math.inf):
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a positive number. "
            f"Received: {name}={value!r}"
        )


def require_nonnegative_number(name, value):
    """Raises a `ValueError` unless `value` is a finite number of at least 0."""
    if not (_is_number(value) and 0 <= value < math.inf):
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a number of at least 0. "
            f"Received: {name}={value!r}"
        )


def _is_number(value):
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def require_choice(name, value, choices):
    """Raises a `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected one of: {', '.join(choices)}. "
            f"Received: {name}={value!r}"
        )
