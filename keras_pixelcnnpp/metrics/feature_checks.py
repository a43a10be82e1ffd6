"""Checks of the features that distances between sets of pictures are made of."""

import numpy as np


def checked_features(*sets: np.ndarray, at_least: int = 1, dtype="float64") -> list[np.ndarray]:
    """Returns each set of features as a `dtype` array `[count, dimensions]`; `None` keeps the type.

    Raises:
        ValueError: If a set isn't a matrix of finite numbers, has fewer than `at_least` rows, or
            the dimensions of two sets differ.
    """
    arrays = [np.asarray(features, dtype) for features in sets]
    for array in arrays:
        if array.ndim != 2 or len(array) < at_least or not np.isfinite(array).all():
            raise ValueError(
                f"Invalid features. Expected finite numbers of shape (count, dimensions), count at "
                f"least {at_least}. Received: shape={array.shape}"
            )
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                "Invalid features. Expected the same dimensions in every set. "
                f"Received: {arrays[0].shape[1]} and {array.shape[1]}"
            )
    return arrays
