"""Checks of constructor arguments, so that every layer words its errors alike."""


def require_positive_integer(name, value):
    """Raises a `ValueError` unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a positive integer. "
            f"Received: {name}={value!r}"
        )


def require_rate(name, value):
    """Raises a `ValueError` unless `0 <= value < 1`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a number in [0, 1). "
            f"Received: {name}={value!r}"
        )


def require_choice(name, value, choices):
    """Raises a `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected one of: {', '.join(choices)}. "
            f"Received: {name}={value!r}"
        )
