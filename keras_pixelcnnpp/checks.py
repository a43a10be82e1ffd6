"""Checks of arguments, so that all classes word their errors alike."""

import math
import operator

import numpy as np


def plain(value):
    """NumPy's numbers as Python's, which JSON holds; sequences of them as tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(plain, value))
    return value


def require_positive_integer(name, value):
    """Raises a `ValueError` unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
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
    if not (_is_number(value) and 0 <= value < 1):
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


def require_temperature(value):
    """Raises a `ValueError` unless `value` is a temperature that float32 can divide by."""
    if not (_is_number(value) and 1e-6 <= value <= 1e6):
        raise ValueError(
            "Invalid value for argument `temperature`. Expected a positive number, from 1e-6 to "
            f"1e6. Received: temperature={value!r}"
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


def require_nonnegative_integer(name, value):
    """Raises a `ValueError` unless `value` is an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected an integer of at least 0. "
            f"Received: {name}={value!r}"
        )


def require_levels(name, value):
    """Raises a `ValueError` unless `value` is a number of levels that uint8 holds."""
    require_positive_integer(name, value)
    if not 2 <= value <= 256:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected an integer from 2 to 256. "
            f"Received: {name}={value}"
        )


def checked_image_shape(image_shape):
    """Returns `image_shape` as three positive integers `(height, width, channels)`.

    Raises:
        ValueError: If it isn't that.
    """
    try:
        height, width, channels = (operator.index(size) for size in image_shape)
    except (TypeError, ValueError):
        height = width = channels = 0
    if min(height, width, channels) < 1:
        raise ValueError(
            "Invalid value for argument `image_shape`. Expected three positive integers "
            f"(height, width, channels). Received: image_shape={image_shape}"
        )
    return height, width, channels


def require_choice(name, value, choices):
    """Raises a `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected one of: {', '.join(choices)}. "
            f"Received: {name}={value!r}"
        )


def checked_images(images, image_shape, num_levels):
    """Returns `images` as a uint8 array `(N, *image_shape)` of levels.

    Raises:
        ValueError: If shape, dtype or range don't fit.
    """
    array = np.asarray(images)
    expected = (None, *image_shape)
    if array.ndim != 4 or array.shape[1:] != tuple(image_shape):
        raise ValueError(
            f"Invalid shape of `images`. Expected {expected}. Received: shape={array.shape}"
        )
    if array.dtype.kind not in "ui":
        raise ValueError(
            "Invalid dtype of `images`. Expected uint8, levels from 0 to "
            f"{num_levels - 1}. Received: dtype={array.dtype}"
        )
    if array.size and (array.min() < 0 or array.max() >= num_levels):
        raise ValueError(
            f"Invalid values in `images`. Expected levels from 0 to {num_levels - 1}. "
            f"Received: values from {array.min()} to {array.max()}"
        )
    return array.astype("uint8", copy=False)


def checked_labels(labels, count, limit):
    """Returns `labels` as an int32 array `(count,)` with values below `limit`.

    Raises:
        ValueError: If there are not `count` integers from 0 to `limit - 1`.
    """
    array = np.asarray(labels)
    if array.shape == (0,):
        array = array.astype("int32")  # an empty list has no kind
    if array.ndim == 0 and array.dtype.kind in "ui":
        array = np.full(count, array)
    if array.shape != (count,) or array.dtype.kind not in "ui":
        raise ValueError(
            f"Invalid value for argument `labels`. Expected {count} integers. "
            f"Received: labels with shape={array.shape} and dtype={array.dtype}"
        )
    if array.size and (array.min() < 0 or array.max() >= limit):
        raise ValueError(
            f"Invalid value for argument `labels`. Expected integers from 0 to {limit - 1}. "
            f"Received: values from {array.min()} to {array.max()}"
        )
    return array.astype("int32")


def checked_candidates(labels, count, num_classes, limit, unlabelled_weight=0.0):
    """Returns labels `(count,)`, or candidate labels `(count, K)`, as an int32 array.

    Where `unlabelled_weight` is above 0, the first candidate may be -1 in a row of all classes, in
    the place of class 0: none is known to be the true one.

    Raises:
        ValueError: If they aren't integers from 0 to `limit - 1`, or no candidates.
    """
    array = np.asarray(labels)
    if array.dtype.kind == "i" and np.any(array == -1):
        candidates = np.where(array == -1, 0, array)
        if not (
            unlabelled_weight
            and array.ndim == 2
            and array.shape[1] == num_classes
            and np.all(array[:, 1:] >= 0)
            and np.all(np.sort(candidates[array[:, 0] < 0], axis=1) == np.arange(num_classes))
        ):
            raise ValueError(
                "Invalid value for argument `labels`. Expected integers from 0 to "
                f"{limit - 1}. -1, a picture without a label, is for a model with "
                "`unlabelled_weight` above 0, with all classes as candidates: its row is -1 and "
                f"the classes 1 to {num_classes - 1}. Received: labels with shape={array.shape}, "
                f"unlabelled_weight={unlabelled_weight}"
            )
        checked_candidates(candidates, count, num_classes, limit)
        return array.astype("int32")
    if array.ndim != 2:
        return checked_labels(array, count, limit)
    hint = ""
    if array.shape[1] == num_classes and np.isin(array, (0, 1)).all():
        hint = " One-hot labels? Give `labels.argmax(axis=1)`."
    if array.shape[0] != count or array.dtype.kind not in "ui":
        raise ValueError(
            f"Invalid value for argument `labels`. Expected {count} integers, or as many rows of "
            f"candidates.{hint} Received: labels with shape={array.shape} and dtype={array.dtype}"
        )
    checked_labels(array.ravel(), array.size, limit)
    in_order = np.sort(array, axis=1)
    if (in_order[:, 1:] == in_order[:, :-1]).any():
        raise ValueError(
            "Invalid value for argument `labels`. The columns of labels of two dimensions are "
            "candidates, the true label first, of which no two are equal; some row has the same "
            f"label twice.{hint} Received: labels with shape={array.shape}"
        )
    return array.astype("int32")


def checked_rows(known_rows, height):
    """Returns `known_rows`, an integer or a sequence of them, as an integer array.

    Raises:
        ValueError: If they aren't integers from 0 to `height`.
    """
    array = np.asarray(known_rows)
    if array.ndim > 1 or array.dtype.kind not in "ui" or np.any((array < 0) | (array > height)):
        raise ValueError(
            f"Invalid value for argument `known_rows`. Expected an integer from 0 to {height}, or "
            f"a sequence of them. Received: known_rows={known_rows!r:.80}"
        )
    return array
