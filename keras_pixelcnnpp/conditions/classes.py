"""The class of an image, and what only a class allows: to be unknown, averaged over, and compared.

Values of N images are a dict from the names of the parts of a model's conditions to arrays `(N,
...)`; under several candidates for each image, each array has a second axis: K candidates, or 1
where all of them share the value. The entry `"label"` is the class, int32 `(N,)`, and every model
has it: without labels there is one class, 0.

These functions take NumPy arrays and tensors, and return the same kind.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions.values import (
    Values,
    as_candidates,
    first_candidate,
    num_candidates,
    taken,
)
from keras_pixelcnnpp.utils.backend import Tensor

#: The name of the class in values.
LABEL = "label"

# The class of an image that is not given. In data, the class is not known. In scoring, -1 stands
# for the mean of p(x | y) over equally likely classes. In sampling, it stands for a random class,
# given the known pixels. The class of the shortest code, in compression, is `None`.
ANY_CLASS = -1

#: Positions in an array of images, and the values `(positions, candidates, ...)` under which each
#: of these images is evaluated.
Group = tuple[np.ndarray, Values]


def all_classes(num_classes: int) -> np.ndarray:
    """Returns the classes over which p(x) is a mean, int32; without classes, it is one, 0."""
    return np.arange(max(1, num_classes), dtype="int32")


def class_of(values: Values) -> Any:
    """Returns the class of each image, int32 `(batch,)`, -1 where it is not known."""
    return values[LABEL]


def with_classes(values: Values, classes: Any) -> Values:
    """Returns values `(batch, K, ...)`: each value of `(batch, ...)` with K classes.

    `classes` are int32 `(batch, K)`, or `(K,)` for all.
    """
    return candidates_with_classes(as_candidates(values), classes)


def candidates_with_classes(candidates: Values, classes: Any) -> Values:
    """Returns candidates `(batch, K * C, ...)`: each of `(batch, K, ...)` with C classes.

    The candidates have all classes of the first value, then those of the next one. What all
    candidates share, with the axis 1, stays shared.
    """
    label = candidates[LABEL]  # (batch, 1)
    if not isinstance(label, np.ndarray):
        classes = ops.convert_to_tensor(classes, "int32")
    classes = 0 * label + classes
    if (given := num_candidates(candidates)) > 1:
        xp, count = np if isinstance(label, np.ndarray) else ops, classes.shape[1]
        classes = xp.tile(classes, (1, given))
        candidates = {
            name: one if one.shape[1] == 1 else xp.repeat(one, count, axis=1)
            for name, one in candidates.items()
        }
    return {**candidates, LABEL: classes}


def with_one_class(values: Values, classes: Any) -> Values:
    """Returns values `(batch, ...)` with other classes, int32 `(batch,)`."""
    return first_candidate(with_classes(values, classes[:, None]))


def groups(candidates: Values, num_classes: int) -> Iterator[Group]:
    """Yields the images whose class is known, with their candidates, and the others, with all.

    p(x) of an image whose class is not known is the mean over the candidates with each class, which
    are the second axis of the values.
    """
    is_known = class_of(candidates)[:, 0] >= 0
    known, others = np.flatnonzero(is_known), np.flatnonzero(~is_known)
    if len(known):
        # Not a copy of all, which may have many candidates.
        yield known, taken(candidates, known) if len(others) else candidates
    if len(others):
        some = taken(candidates, others)
        yield others, candidates_with_classes(some, all_classes(num_classes))


def choose_classes(
    true: Tensor, num_classes: int, count: int, seed_generator: keras.random.SeedGenerator
) -> Tensor:
    """Returns each image's true class and random others, for a loss that compares them.

    Args:
        true: Int tensor `(batch,)`, the true classes.
        num_classes: Integer, number of classes.
        count: Integer, number of classes of each image.
        seed_generator: Source of the random numbers.

    Returns:
        Int tensor `(batch, count)`. The first class of each image is the true one.
    """
    true = true[:, None]
    if count == num_classes:  # no random numbers are used
        others = (true + ops.arange(1, count, dtype="int32")) % count
    else:
        shape = (ops.shape(true)[0], num_classes)
        scores = keras.random.uniform(shape, seed=seed_generator)
        scores = ops.where(true == ops.arange(num_classes, dtype="int32"), -1.0, scores)
        others = ops.cast(ops.top_k(scores, count - 1)[1], "int32")
    return ops.concatenate([true, others], axis=1)
