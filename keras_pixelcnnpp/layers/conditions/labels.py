"""Class labels as the conditions of a model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.layers.conditions.base import ANY_CLASS, Conditions, is_given
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    checked_labels,
    plain,
    require_integer,
)
from keras_pixelcnnpp.utils.indexing import look_up


class Labels(Conditions):
    """Class labels, integers from 0 to `num_classes - 1`, as the conditions of a model of p(x | y).

    Args:
        num_classes: Integer, number of classes.
        class_names: Sequence of `num_classes` strings, which methods accept as labels. The default
            is `Class0`, `Class1` and so on.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> Labels(2, ["cat", "dog"]).checked(["dog", "cat", "dog"], 3)
    array([1, 0, 1], dtype=int32)
    """

    are_labels = True

    def __init__(self, num_classes: int, class_names: Sequence[str] | None = None):
        require_integer("num_classes", num_classes, high=100_000)
        self.num_classes = self.num_candidates = plain(num_classes)
        self.num_rows = self.code_size = self.num_classes
        self.is_constant = self.num_classes == 1
        self.class_names = self.names = checked_class_names(class_names, num_classes)
        self.description = "1 class" if num_classes == 1 else f"{num_classes} classes"

    def arguments(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "class_names": self.class_names}

    def spec(self, batch: int | None, candidates: int) -> keras.KerasTensor:
        return keras.KerasTensor((batch, candidates), "int32")

    def read(
        self, values: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        lowest = ANY_CLASS if unknown else 0
        return checked_labels(values, count, self.num_classes, self.class_names, lowest)

    def unknown(self, values: np.ndarray) -> np.ndarray:
        return np.flatnonzero(~is_given(values))

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(0, self.num_classes, count).astype("int32")

    def candidates(self, count: int) -> np.ndarray:
        return np.tile(np.arange(self.num_classes, dtype="int32"), (count, 1))

    def choose(
        self, true: Tensor, count: int, seed_generator: keras.random.SeedGenerator
    ) -> Tensor:
        # With all classes, no random numbers are used.
        true = true[:, None]
        if count == self.num_classes:
            others = (true + ops.arange(1, count, dtype="int32")) % count
        else:
            shape = (ops.shape(true)[0], self.num_classes)
            scores = keras.random.uniform(shape, seed=seed_generator)
            scores = ops.where(true == ops.arange(self.num_classes, dtype="int32"), -1.0, scores)
            others = ops.cast(ops.top_k(scores, count - 1)[1], "int32")
        return ops.concatenate([true, others], axis=1)

    def look_up(self, table: Tensor, encoded: Tensor) -> Tensor:
        return look_up(ops.convert_to_tensor(table), encoded)

    def code(self, encoded: Tensor, dtype: str) -> Tensor:
        """Returns the one-hot encoding of labels, `(..., num_classes)`."""
        # Not `ops.one_hot`, which reads the values under torch.
        classes = ops.arange(self.num_classes, dtype="int32")
        return ops.cast(ops.equal(encoded[..., None], classes), dtype)
