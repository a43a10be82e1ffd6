"""What a model is conditioned on: nothing, or a class label.

A `Conditions` object is all that the rest of the package knows of a condition: the form of its
values in arrays and tensors, the weights that the conditioning strategies have for them, and the
values over which p(x) is a mean.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.backend import Shape, Tensor, look_up
from keras_pixelcnnpp.checks import (
    checked_class_names,
    checked_labels,
    plain,
    require_integer,
)
from keras_pixelcnnpp.errors import UserError, invalid_argument

# Users write -1 where a class is not given. Its meaning depends on what is asked:
UNLABELED = -1  # in data: the class of the image is not known
MARGINAL = -1  # in scoring: p(x), the mean of p(x | y) over equally likely classes
RANDOM_CLASS = -1  # in sampling: a random class, given the known pixels
# (The class of the shortest code, in compression, is `None`.)

#: Positions in an array of images, and the values `(positions, K, ...)` under which each of these
#: images is evaluated, or `None` for an unconditional model.
Group = tuple[np.ndarray, np.ndarray | None]


def is_given(labels: ArrayLike) -> np.ndarray:
    """Returns which labels of an array are those of a class, and not -1."""
    return np.asarray(labels) >= 0


class Conditions(ABC):
    """Base class of the conditions of a model.

    In tensors, the values of a condition are `(batch, candidates, ...)`: each image may be
    evaluated under several candidates. A strategy of conditioning (`layers.conditioning`) has
    tables of weights with `num_rows` rows, in which `look_up` finds or computes the entry of a
    value.

    Attributes:
        num_classes: Integer, number of classes; 0 for an unconditional model.
        class_names: Tuple of the classes' names.
        num_candidates: Integer, number of values whose mean p(x | value) is p(x); 1 for an
            unconditional model.
        is_constant: Boolean, whether there is only one value, on which nothing can depend.
        num_rows: Integer, number of rows of a table of weights.
        code_size: Integer, number of channels of the result of `code`.
    """

    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    num_candidates: int = 1
    is_constant: bool = True
    num_rows: int = 0
    code_size: int = 0

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of a model that create these conditions, as plain data."""

    @abstractmethod
    def spec(self, batch: int | None, candidates: int) -> keras.KerasTensor | None:
        """Returns the shape and dtype of values of `candidates` candidates of each image."""

    @abstractmethod
    def checked(self, values: Any, count: int, unknown: bool = True) -> np.ndarray | None:
        """Returns the values of `count` images as an array, `None` for an unconditional model.

        Args:
            values: The values that a user gave.
            count: Integer, number of images.
            unknown: Boolean, whether -1, a condition that is not known, is accepted.

        Raises:
            ValueError: If the values don't fit.
        """

    @abstractmethod
    def candidates(self, count: int) -> np.ndarray | None:
        """Returns all values over which p(x) is a mean, for each of `count` images.

        The values are equally likely a priori. The array is `(count, num_candidates, ...)`, or
        `None` for an unconditional model.
        """

    def filled(self, values: np.ndarray | None) -> Tensor | None:
        """Returns checked values as a tensor `(count, 1, ...)`, with a value for those not known.

        It is for computations that hardly depend on the value.
        """
        return None

    def groups(self, values: np.ndarray | None, count: int) -> Iterator[Group]:
        """Yields the images whose value is given, with this value, and the others, with all.

        `values` are the result of `checked`. Scoring takes the mean over the second axis.
        """
        if values is None:
            found = [(np.arange(count), None)]
        else:
            known, others = np.flatnonzero(is_given(values)), np.flatnonzero(~is_given(values))
            found = [(known, values[known, None]), (others, self.candidates(len(others)))]
        return ((rows, candidates) for rows, candidates in found if len(rows))

    def tensor_of_candidates(self, count: int | Tensor) -> Tensor | None:
        """Returns `candidates(count)` as a tensor, for a number of images that may be traced."""
        one = self.candidates(1)
        return None if one is None else ops.tile(ops.convert_to_tensor(one), (count, 1))

    def choose(
        self, true: Tensor, count: int, seed_generator: keras.random.SeedGenerator
    ) -> Tensor:
        """Returns each image's true value and random others, for a loss that compares them.

        Args:
            true: Tensor `(batch, ...)`, the true values.
            count: Integer, number of values of each image.
            seed_generator: Source of the random numbers.

        Returns:
            Tensor `(batch, count, ...)`. The first value of each image is the true one.
        """
        raise self.refusal()

    def entries(
        self, layer: keras.layers.Layer, name: str, shape: Shape, initializer: str
    ) -> keras.Variable:
        """Creates a table of weights of a layer, which has an entry of `shape` for each value."""
        return layer.add_weight(name=name, shape=(self.num_rows, *shape), initializer=initializer)

    def look_up(self, table: Tensor, values: Tensor) -> Tensor:
        """Returns the entries of values `(batch, candidates)`: `(batch, candidates, *shape)`."""
        raise self.refusal()

    def code(self, values: Tensor, dtype: str) -> Tensor:
        """Returns values as numbers, `(batch, candidates, code_size)`, for the network's input."""
        raise self.refusal()

    def require_classes(self) -> None:
        """Raises a `UserError` if the conditions are not class labels."""
        if not self.num_classes:
            raise self.refusal()

    def refusal(self) -> UserError:
        """Returns the error of a method that needs classes."""
        return UserError("Expected a class-conditional model. Received: num_classes=0")


class Unconditional(Conditions):
    """The conditions of a model of p(x).

    Example:

    >>> Unconditional().arguments()
    {'num_classes': 0}
    """

    def arguments(self) -> dict[str, Any]:
        return {"num_classes": 0}

    def spec(self, batch: int | None, candidates: int) -> None:
        return None

    def checked(self, values: Any, count: int, unknown: bool = True) -> None:
        if values is not None and not np.array_equal(values, MARGINAL):
            raise invalid_argument("labels", values, "None, because the model is unconditional")

    def candidates(self, count: int) -> None:
        return None


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

    def __init__(self, num_classes: int, class_names: Sequence[str] | None = None):
        require_integer("num_classes", num_classes, high=100_000)
        self.num_classes = self.num_candidates = plain(num_classes)
        self.num_rows = self.code_size = self.num_classes
        self.is_constant = self.num_classes == 1
        self.class_names = checked_class_names(class_names, num_classes)

    def arguments(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "class_names": self.class_names}

    def spec(self, batch: int | None, candidates: int) -> keras.KerasTensor:
        return keras.KerasTensor((batch, candidates), "int32")

    def checked(self, values: Any, count: int, unknown: bool = True) -> np.ndarray:
        lowest = UNLABELED if unknown else 0
        return checked_labels(values, count, self.num_classes, self.class_names, lowest)

    def filled(self, values: np.ndarray) -> Tensor:
        return ops.convert_to_tensor(np.maximum(values, 0)[:, None])

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

    def look_up(self, table: Tensor, values: Tensor) -> Tensor:
        return look_up(ops.convert_to_tensor(table), values)

    def code(self, values: Tensor, dtype: str) -> Tensor:
        """Returns the one-hot encoding of labels, `(batch, candidates, num_classes)`."""
        # Not `ops.one_hot`, which reads the values under torch.
        classes = ops.arange(self.num_classes, dtype="int32")
        return ops.cast(ops.equal(values[..., None], classes), dtype)


def conditions_of(
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    conditions: Conditions | None = None,
) -> Conditions:
    """Returns the conditions that these arguments of a model describe.

    `num_classes` is the shorthand for `Labels`, or with 0 for `Unconditional`.

    Raises:
        ValueError: If the arguments are out of range, or describe no or two conditions.

    Example:

    >>> conditions_of(num_classes=3).class_names
    ('Class0', 'Class1', 'Class2')
    """
    if conditions is None:
        require_integer("num_classes", num_classes, low=0, high=100_000)
        if num_classes:
            return Labels(num_classes, class_names)
        checked_class_names(class_names, 0)
        return Unconditional()
    given = {"num_classes": num_classes, "class_names": class_names}
    if wrong := [name for name, value in given.items() if value is not None]:
        raise invalid_argument(wrong[0], given[wrong[0]], "None, because `conditions` are given")
    if not isinstance(conditions, Conditions):
        raise invalid_argument("conditions", conditions, "Conditions, such as Labels(10)")
    return conditions


def as_conditions(conditions: Conditions | int) -> Conditions:
    """Returns `conditions`; an integer, a number of classes, stands for `Labels`."""
    if isinstance(conditions, Conditions):
        return conditions
    require_integer("num_classes", conditions)
    return Labels(conditions)
