"""Checks of the pictures and labels that a user passes to a model's methods."""

import numpy as np


def checked_images(images, model):
    """Returns `images` as a uint8 array `(N, *image_shape)` of levels.

    Raises:
        ValueError: If shape, dtype or range don't fit `model`.
    """
    array = np.asarray(images)
    expected = (None, *model.image_shape)
    if array.ndim != 4 or array.shape[1:] != model.image_shape:
        raise ValueError(
            f"Invalid shape of `images`. Expected {expected}. Received: shape={array.shape}"
        )
    if array.dtype.kind not in "ui":
        raise ValueError(
            "Invalid dtype of `images`. Expected uint8, levels from 0 to "
            f"{model.num_levels - 1}. Received: dtype={array.dtype}"
        )
    if array.size and (array.min() < 0 or array.max() >= model.num_levels):
        raise ValueError(
            f"Invalid values in `images`. Expected levels from 0 to {model.num_levels - 1}. "
            f"Received: values from {array.min()} to {array.max()}"
        )
    return array.astype("uint8")


def checked_labels(labels, count, limit):
    """Returns `labels` as an int32 array `(count,)` with values below `limit`.

    Raises:
        ValueError: If there are not `count` integers from 0 to `limit - 1`.
    """
    array = np.asarray(labels)
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
