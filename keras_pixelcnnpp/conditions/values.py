"""Functions of the values of conditions.

The values of N images are a dict from the name of each part of the conditions to an array or tensor
`(N, ...)`. Where an image is evaluated under several candidates, each array has a second axis: K
candidates, or 1 if all of them share the value.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.utils.backend import Nest

#: An array or tensor for each part of the conditions, by its name.
Values = dict[str, Any]


def num_images(values: Nest) -> Any:
    """Returns the number of images that have the values."""
    return keras.ops.shape(keras.tree.flatten(values)[0])[0]


def num_candidates(candidates: Values) -> int:
    """Returns the number of candidates of each image, K of `(N, K, ...)`."""
    return max(array.shape[1] for array in candidates.values())


def taken(values: Nest, rows: Any) -> Nest:
    """Returns the values of some images, which an index or a slice selects.

    Example:

    >>> taken({"label": np.array([3, 1, 2])}, [0, 2])
    {'label': array([3, 2])}
    """
    return keras.tree.map_structure(lambda array: array[rows], values)


def as_candidates(values: Values) -> Values:
    """Returns values `(N, ...)` as those of a single candidate, `(N, 1, ...)`."""
    return {name: array[:, None] for name, array in values.items()}


def first_candidate(candidates: Values) -> Values:
    """Returns the values `(N, ...)` of the first candidate of each image."""
    return {name: array[:, 0] for name, array in candidates.items()}


def flat_candidates(candidates: Values) -> Values:
    """Returns all candidates `(N, K, ...)` as the values of N * K images, in NumPy."""
    count = num_candidates(candidates)

    def flat(array: np.ndarray) -> np.ndarray:
        array = np.broadcast_to(array, (len(array), count, *array.shape[2:]))
        return array.reshape(-1, *array.shape[2:])

    return {name: flat(array) for name, array in candidates.items()}


def joined_values(several: Sequence[Values]) -> Values:
    """Returns the values of several groups of images, one after another, in NumPy."""
    return {name: np.concatenate([one[name] for one in several]) for name in several[0]}
