"""Class labels as a part of the conditions of a model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions.classes import ANY_CLASS, LABEL
from keras_pixelcnnpp.conditions.part import PLACES, Part, PartEncoder
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    checked_labels,
    plain,
    require_integer,
    require_one_label,
)
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.indexing import look_up


class Labels(Part):
    """Class labels, integers from 0 to `num_classes - 1`, as a condition of a model of p(x | y).

    The label -1, or none, stands for the mean over the classes.

    Args:
        num_classes: Integer, number of classes.
        class_names: Sequence of `num_classes` strings, which methods accept as labels. The default
            is `Class0`, `Class1` and so on.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> Labels(2, ["cat", "dog"]).parse(["dog", "cat", "dog"], 3)
    array([1, 0, 1], dtype=int32)
    """

    name = LABEL
    kind = "labels"
    needs_values = False
    dtype = "int32"
    places = PLACES
    compressible = exportable = tileable = True

    def __init__(self, num_classes: int, class_names: Sequence[str] | None = None):
        require_integer("num_classes", num_classes, high=100_000)
        self.num_classes = self.num_rows = self.code_size = plain(num_classes)
        self.names = checked_class_names(class_names, num_classes)
        self.description = "1 class" if num_classes == 1 else f"{num_classes} classes"

    def config(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "class_names": self.names}

    def parse(
        self, given: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        lowest = ANY_CLASS if unknown else 0
        if given is None and unknown:
            given = ANY_CLASS
        if np.ndim(given) == 2:
            require_one_label(np.shape(given))
            given = np.reshape(given, -1)
        return checked_labels(given, count, self.num_classes, self.names, lowest)

    def number_of(self, given: Any) -> int:
        return int(np.size(given))

    def values_in(self, images: Any) -> np.ndarray:
        return images.labels

    def texts(self, values: np.ndarray) -> list[str]:
        # An image is the same one, whatever its label is.
        return [""] * len(values)

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(0, self.num_classes, count).astype("int32")

    def encoder(self, image_shape: Sequence[int], name: str = "encoder") -> "LabelEncoder":
        return LabelEncoder(self, name=name)

    def look_up(self, table: Tensor, encoded: Tensor) -> Tensor:
        return look_up(ops.convert_to_tensor(table), encoded)

    def code(self, encoded: Tensor, dtype: str) -> Tensor:
        """Returns the one-hot encoding of labels, `(..., num_classes)`."""
        # Not `ops.one_hot`, which reads the values under torch.
        classes = ops.arange(self.num_classes, dtype="int32")
        return ops.cast(ops.equal(encoded[..., None], classes), dtype)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class LabelEncoder(PartEncoder):
    """Gives labels the axes of an image: int tensor `(batch, candidates, 1, 1)`."""

    part: Labels

    def call(self, values: Tensor) -> list[Tensor]:
        return [values[:, :, None, None]]

    def targets(self, y: Tensor | None, count: int | Tensor) -> tuple[Tensor, Tensor]:
        return label_targets(y, self.part.num_classes, ANY_CLASS)

    def wrong_values(self, y: Any) -> str:
        return wrong_labels(y, self.part.num_classes, ANY_CLASS)


def wrong_labels(y: Any, num_classes: int, lowest: int) -> str:
    """Returns which labels of a batch of a stream are out of range; empty if not known."""
    if not hasattr(y, "dtype"):
        return ""
    labels = ops.convert_to_numpy(y)
    if not labels.size or lowest <= labels.min() <= labels.max() < num_classes:
        return ""
    return (
        f"Labels of a batch are from {labels.min()} to {labels.max()}. Expected integers from "
        f"{lowest} to {num_classes - 1}"
    )


def label_targets(y: Tensor | None, num_classes: int, lowest: int) -> tuple[Tensor, Tensor]:
    """Clips labels to `lowest` and above, int32 `(batch,)`, and returns which ones were valid.

    Labels that are missing, not integers, or several for each image raise a `UserError`.
    """
    if y is None:
        raise UserError(f"A model of {num_classes} classes needs labels. Received: y=None")
    if not hasattr(y, "shape"):
        raise UserError(
            "Invalid labels. Expected an integer for each image. Received: a "
            f"{type(y).__name__} of arrays"
        )
    # After batches (N,) and (N, 1), TensorFlow traces a step for labels of unknown rank.
    if getattr(y.shape, "rank", 1) is not None:
        require_one_label(y.shape)
    dtype = keras.backend.standardize_dtype(y.dtype)
    if not keras.backend.is_int_dtype(dtype):
        raise UserError(f"Invalid labels. Expected integers. Received: dtype={dtype}")
    labels = ops.reshape(ops.cast(y, "int32"), (-1,))
    inside = ops.clip(labels, lowest, num_classes - 1)
    return inside, labels == inside
