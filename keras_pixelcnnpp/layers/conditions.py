"""What a model is conditioned on: nothing, a class label, or a vector.

A `Conditions` object is all that the rest of the package knows of a condition: the form of its
values in arrays and tensors, the weights that the conditioning strategies have for them, and the
values over which p(x) is a mean.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.utils.backend import Shape, Tensor
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    checked_labels,
    plain,
    require_integer,
    require_no_mask,
)
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument
from keras_pixelcnnpp.utils.indexing import look_up

# The label of an image whose class is not given. In data, the class is not known. In scoring, -1
# stands for p(x), the mean of p(x | y) over equally likely classes. In sampling, it stands for a
# random class, given the known pixels. The class of the shortest code, in compression, is `None`.
ANY_CLASS = -1

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
        are_labels: Boolean, whether the values are class labels.
        description: What the conditions are, for messages, such as `"10 classes"`.
        num_classes: Integer, number of classes; 0 if the conditions are not classes.
        class_names: Tuple of the classes' names.
        names: Tuple of names: those of the classes, or of the components of a vector.
        num_candidates: Integer, number of values whose mean p(x | value) is p(x); 1 for an
            unconditional model, and 0 if p(x) is not a mean over a finite number of values.
        is_constant: Boolean, whether there is only one value, on which nothing can depend.
        num_rows: Integer, number of rows of a table of weights.
        code_size: Integer, number of channels of the result of `code`.
    """

    are_labels: bool = False
    description: str = "no condition"
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
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
    def checked(
        self, values: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray | None:
        """Returns the values of `count` images as an array, `None` for an unconditional model.

        Args:
            values: The values that a user gave.
            count: Integer, number of images.
            unknown: Boolean, whether -1, a condition that is not known, is accepted.
            several: Boolean, whether several vectors for each image are accepted.

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

    @abstractmethod
    def requested(self, values: Any) -> Any:
        """Returns the values of the images to sample, or their number for no condition.

        Raises:
            ValueError: If the values don't fit.
        """

    def unknown(self, values: np.ndarray | None) -> np.ndarray:
        """Returns the positions of the values, the result of `checked`, that are not given."""
        return np.zeros(0, "int64")

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray | None:
        """Returns random values for `count` images, in the form that `checked` returns."""
        return None

    def targets(self, y: Tensor | None) -> Tensor | None:
        """Converts the targets `y` of a training step to values `(batch, 1, ...)`.

        Only for conditions without candidates; class labels are compared in the loss.
        """
        return None

    def fit(self, values: np.ndarray | None) -> None:
        """Sets what the conditions learn from the values of the training data."""
        return

    def encoder(self) -> keras.layers.Layer | None:
        """Returns a new layer that encodes values for the strategies, or `None` for none."""
        return None

    def groups(self, values: np.ndarray | None, count: int) -> Iterator[Group]:
        """Yields the images whose value is given, with this value, and the others, with all.

        `values` are the result of `checked`. Scoring takes the mean over the second axis.
        """
        others = self.unknown(values)
        known = np.setdiff1d(np.arange(count), others)
        if len(known):
            yield known, None if values is None else values[known, None]
        if len(others):
            yield others, self.candidates(len(others))

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
        return UserError(
            "Expected a class-conditional model. Received: num_classes=0, a model of "
            f"{self.description}"
        )


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

    def checked(self, values: Any, count: int, unknown: bool = True, several: bool = False) -> None:
        if values is not None and not np.array_equal(values, ANY_CLASS):
            raise invalid_argument("labels", values, "None, because the model is unconditional")

    def candidates(self, count: int) -> None:
        return None

    def requested(self, values: Any) -> int:
        require_integer("labels", values)
        return int(values)


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

    def checked(
        self, values: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        lowest = ANY_CLASS if unknown else 0
        return checked_labels(values, count, self.num_classes, self.class_names, lowest)

    def requested(self, values: Any) -> np.ndarray:
        return self.checked(values, np.size(values))

    def unknown(self, values: np.ndarray) -> np.ndarray:
        return np.flatnonzero(~is_given(values))

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(0, self.num_classes, count).astype("int32")

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


# Width of the hidden layer that encodes a vector.
_HIDDEN = 32


class Vectors(Conditions):
    """Real vectors h, such as physical parameters, as the conditions of a model of p(x | h).

    A vector is scaled to [-1, 1] by its bounds and encoded by a small network, which all strategies
    share: a hidden layer of 32 units. A strategy's weights are linear in this code, where those of
    a label are entries of a table. There is no p(x): methods that compare classes are refused, and
    methods that score or sample need a vector for each image, or one for all.

    Args:
        size: Integer, number of components of a vector.
        low: Number, or a sequence with one number for each component: the lower bounds. `None`
            takes the least values of the arrays given to `fit`.
        high: The upper bounds, likewise.
        names: Sequence of `size` strings, the names of the components. The default is `h0`, `h1`
            and so on.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    conditions = kp.Vectors(2, low=[0.2, -0.3], high=[0.6, 0.3], names=["beta", "field"])
    model = kp.PixelCNNPlusPlus((8, 8, 1), conditions=conditions, num_levels=2)
    model.compile("adam")
    model.fit(images, vectors)                  # float (N, 2)
    model.log_prob(images, vectors)             # (N,), nats
    ```

    Reference:
        Papamakarios et al. 2019, Sequential Neural Likelihood, https://arxiv.org/abs/1805.07226
        (neural likelihood estimation).
    """

    num_candidates = 0
    is_constant = False
    num_rows = 1 + _HIDDEN

    def __init__(
        self,
        size: int,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ):
        require_integer("size", size, high=1000)
        self.size = self.code_size = plain(size)
        names = tuple(f"h{index}" for index in range(size)) if names is None else names
        self.names = checked_class_names(names, size, "names")
        self.description = f"vectors ({', '.join(self.names)})"
        if (low is None) != (high is None):
            raise UserError("Expected both `low` and `high`, or none. Received: one of them")
        self.low, self.high = None, None
        if low is not None:
            self._set_bounds(low, high)

    def _set_bounds(self, low: ArrayLike, high: ArrayLike) -> None:
        try:
            bounds = np.stack([np.broadcast_to(one, self.size) for one in (low, high)])
            good = np.isfinite(bounds).all() and np.all(bounds[0] <= bounds[1])
        except (TypeError, ValueError):
            good = False
        if not good:
            expected = f"{self.size} finite numbers, not below low={low!r}, for {self.description}"
            raise invalid_argument("high", high, expected)
        self.low, self.high = (plain(one.astype("float64")) for one in bounds)

    @property
    def num_classes(self) -> int:
        """Raises a `UserError`, so that no method takes the model for an unconditional one."""
        raise self.refusal()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Raises a `UserError`."""
        raise self.refusal()

    def refusal(self) -> UserError:
        return UserError(
            "Expected a class-conditional model. Received: a model conditioned on "
            f"{self.description}, which has no classes"
        )

    def arguments(self) -> dict[str, Any]:
        facts = {"size": self.size, "low": self.low, "high": self.high, "names": self.names}
        return {"conditions": facts}

    def spec(self, batch: int | None, candidates: int) -> keras.KerasTensor:
        return keras.KerasTensor((batch, candidates, self.size), "float32")

    def checked(
        self, values: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        """Returns vectors as float32 `(count, size)`, or `(count, K, size)` if there are several.

        One vector holds for all images. Values outside of the bounds issue a warning.
        """
        require_no_mask(values, "labels")
        if values is None:
            raise self._missing()
        array = np.asarray(values)
        if array.dtype.kind in "uif":
            array = array.astype("float32")
            if self.size == 1 and array.shape == (count,):
                array = array[:, None]
            if array.shape in ((self.size,), ()) and array.size == self.size:
                array = np.tile(array.reshape(1, self.size), (count, 1))
        shape = (count, self.size)
        if several and array.ndim == 3:
            shape = (count, array.shape[1], self.size)
        if array.dtype.kind != "f" or array.shape != shape:
            raise UserError(
                f"Invalid vectors. Expected numbers of shape ({count}, {self.size}), for "
                f"{self.description}. Received: dtype={array.dtype}, shape={array.shape}"
            )
        if not np.isfinite(array).all():
            raise UserError(
                "Invalid vectors. Expected finite numbers: an unknown condition is not supported. "
                "Received: NaN or infinity"
            )
        self._warn_outside(array)
        return array

    def _warn_outside(self, array: np.ndarray) -> None:
        if self.low is None or not array.size:
            return
        low, high = np.float32(self.low), np.float32(self.high)
        # The extremes of random training vectors lie a little inside of the range they are from.
        slack = 0.01 * (high - low)
        outside = (
            ((array < low - slack) | (array > high + slack)).reshape(-1, self.size).any(axis=0)
        )
        for index in np.flatnonzero(outside):
            values = array[..., index]
            warnings.warn(
                f"Values of {self.names[index]} from {values.min():g} to {values.max():g} are "
                f"outside of the range {self.low[index]:g} to {self.high[index]:g} of the model, "
                "which extrapolates there",
                stacklevel=4,
            )

    def candidates(self, count: int) -> np.ndarray:
        raise self._missing()

    def _missing(self) -> UserError:
        return UserError(
            f"A model conditioned on {self.description} has no p(x). Expected a vector for each "
            "image, or one for all. Received: none"
        )

    def requested(self, values: Any) -> np.ndarray:
        array = np.asarray(values, dtype="float32")
        count = len(array) if array.ndim == 2 or (self.size == 1 and array.ndim == 1) else 1
        return self.checked(values, count)

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        self._require_bounds()
        return rng.uniform(self.low, self.high, (count, self.size)).astype("float32")

    def targets(self, y: Tensor | None) -> Tensor:
        if y is None or len(y.shape) != 2 or y.shape[1] != self.size:
            received = "y=None" if y is None else f"shape={tuple(y.shape)}"
            expected = f"(batch, {self.size}) for {self.description}"
            raise UserError(
                f"Invalid vectors. Expected y of shape {expected}. Received: {received}"
            )
        return ops.cast(y, "float32")[:, None]

    def fit(self, values: np.ndarray) -> None:
        if self.low is None:
            low, high = values.min(axis=0), values.max(axis=0)
            for index in np.flatnonzero(low == high):
                warnings.warn(
                    f"{self.names[index]} is {low[index]:g} in all training vectors, so the model "
                    "does not learn how images depend on it",
                    stacklevel=3,
                )
            self._set_bounds(low, high)

    def filled(self, values: np.ndarray) -> Tensor:
        return ops.convert_to_tensor(values[:, None])

    def encoder(self) -> "VectorEncoder":
        return VectorEncoder(self, name="encoder")

    def look_up(self, table: Tensor, values: Tensor) -> Tensor:
        table = ops.convert_to_tensor(table)
        code = ops.cast(values[..., : self.num_rows], table.dtype)
        return ops.tensordot(code, table, 1)

    def code(self, values: Tensor, dtype: str) -> Tensor:
        """Returns the scaled vectors, `(batch, candidates, size)`."""
        return ops.cast(values[..., self.num_rows :], dtype)

    def scaled(self, values: Tensor) -> Tensor:
        """Scales vectors so that the bounds become -1 and 1, or 0 if they are equal."""
        self._require_bounds()
        low, high = np.float32(self.low), np.float32(self.high)
        half = np.where(high > low, (high - low) / 2, np.float32(1))
        middle, half = map(ops.convert_to_tensor, ((low + high) / 2, half))
        return (values - middle) / half

    def _require_bounds(self) -> None:
        if self.low is None:
            raise UserError(
                "The bounds of the vectors are not known. Expected `low` and `high` in "
                f"Vectors({self.size}, …), or `fit` with arrays. Received: neither"
            )


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class VectorEncoder(keras.layers.Layer):
    """Encodes vectors: a constant 1, the hidden layer, and the scaled vector.

    Args:
        vectors: The conditions.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Float tensor `(batch, candidates, size)`.

    Returns:
        Float32 tensor `(batch, candidates, 33 + size)`.
    """

    def __init__(self, vectors: Vectors, **kwargs: Any):
        # float32 under every policy, because neighboring vectors differ little.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.vectors = vectors
        self.hidden = keras.layers.Dense(_HIDDEN, "tanh", dtype="float32", name="hidden")
        self.hidden.build((None, None, vectors.size))
        self.built = True

    def call(self, values: Tensor) -> Tensor:
        scaled = self.vectors.scaled(ops.cast(values, "float32"))
        return ops.concatenate([ops.ones_like(scaled[..., :1]), self.hidden(scaled), scaled], -1)

    def compute_output_shape(self, values_shape: Shape) -> Shape:
        return (*values_shape[:-1], 1 + _HIDDEN + values_shape[-1])


def conditions_of(
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    conditions: Conditions | dict[str, Any] | None = None,
) -> Conditions:
    """Returns the conditions that these arguments of a model describe.

    `num_classes` is the shorthand for `Labels`, or with 0 for `Unconditional`. In a saved
    configuration, `conditions` are the arguments of `Vectors`.

    Raises:
        ValueError: If the arguments are out of range, or describe no or two conditions.

    Example:

    >>> conditions_of(num_classes=3).class_names
    ('Class0', 'Class1', 'Class2')
    """
    if conditions is None:
        if num_classes is None:
            expected = "the number of classes, or 0 for an unconditional model; or `conditions`"
            raise invalid_argument("num_classes", num_classes, expected)
        require_integer("num_classes", num_classes, low=0, high=100_000)
        if num_classes:
            return Labels(num_classes, class_names)
        checked_class_names(class_names, 0)
        return Unconditional()
    given = {"num_classes": num_classes, "class_names": class_names}
    if wrong := [name for name, value in given.items() if value is not None]:
        raise invalid_argument(wrong[0], given[wrong[0]], "None, because `conditions` are given")
    if isinstance(conditions, dict):
        return Vectors(**conditions)
    if not isinstance(conditions, Conditions):
        raise invalid_argument("conditions", conditions, "Conditions, such as Labels(10)")
    return conditions


def as_conditions(conditions: Conditions | int) -> Conditions:
    """Returns `conditions`; an integer, a number of classes, stands for `Labels`."""
    if isinstance(conditions, Conditions):
        return conditions
    require_integer("num_classes", conditions)
    return Labels(conditions)
