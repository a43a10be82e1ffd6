"""Base class of the conditions of a model, and no condition.

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

from keras_pixelcnnpp.utils.backend import Shape, Tensor
from keras_pixelcnnpp.utils.checks import require_integer
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

# The label of an image whose class is not given. In data, the class is not known. In scoring, -1
# stands for p(x), the mean of p(x | y) over equally likely classes. In sampling, it stands for a
# random class, given the known pixels. The class of the shortest code, in compression, is `None`.
ANY_CLASS = -1

#: The places of a network at which a strategy can act; see `LabelConditioning`.
PLACES = ("input", "stem", "hidden", "gate", "bottleneck", "head")

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
        kind: String, what messages and the inputs of a SavedModel call the values.
        option: The option of the commands that has a value, or `None`.
        option_example: String, the form of this value.
        description: What the conditions are, for messages, such as `"10 classes"`.
        num_classes: Integer, number of classes; 0 if the conditions are not classes.
        class_names: Tuple of the classes' names.
        names: Tuple of names: those of the classes, or of the components of a vector.
        num_candidates: Integer, number of values whose mean p(x | value) is p(x); 1 for an
            unconditional model, and 0 if p(x) is not a mean over a finite number of values.
        is_constant: Boolean, whether there is only one value, on which nothing can depend.
        num_rows: Integer, number of rows of a table of weights.
        dtype: String, the dtype of the result of `read`.
        places: Tuple of strings, the places at which strategies can use the condition; see
            `LabelConditioning`.
        conditioned_blocks: String, default of this argument of `PixelCNNPlusPlus`.
        has_position: Boolean, whether values belong to positions in the image.
        code_size: Integer, number of channels of the result of `code`.
    """

    are_labels: bool = False
    kind: str = "labels"
    option: str | None = None
    option_example: str = ""
    description: str = "no condition"
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    num_candidates: int = 1
    is_constant: bool = True
    num_rows: int = 0
    dtype: str = "int32"
    places: tuple[str, ...] = PLACES
    conditioned_blocks: str = "up_horizontal"
    has_position: bool = False
    code_size: int = 0

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of a model that create these conditions, as plain data."""

    @abstractmethod
    def spec(self, batch: int | None, candidates: int) -> keras.KerasTensor | None:
        """Returns the shape and dtype of values of `candidates` candidates of each image."""

    @abstractmethod
    def read(
        self, values: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray | None:
        """Returns the values of `count` images as an array, `None` for an unconditional model.

        Args:
            values: The values that a user gave.
            count: Integer, number of images.
            unknown: Boolean, whether -1, a condition that is not known, is accepted.
            several: Boolean, whether several values for each image are accepted, if they are
                numbers.

        Raises:
            ValueError: If the values don't fit.
        """

    def scaled(self, values: np.ndarray | None) -> np.ndarray | None:
        """Returns values, the result of `read`, as the network takes them."""
        return values

    def checked(
        self, values: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray | None:
        """Returns the values that a user gave as the network takes them; see `read`."""
        return self.scaled(self.read(values, count, unknown, several))

    @abstractmethod
    def candidates(self, count: int) -> np.ndarray | None:
        """Returns all values over which p(x) is a mean, for each of `count` images.

        The values are equally likely a priori. The array is `(count, num_candidates, ...)`, or
        `None` for an unconditional model.
        """

    def number_of(self, values: Any) -> int:
        """Returns the number of images for which a user gave values, to sample them.

        Raises:
            ValueError: If the values don't fit.
        """
        return int(np.size(values))

    def requested(self, values: Any) -> Any:
        """Returns the values of the images to sample, or their number for no condition.

        The values are the result of `read`.
        """
        return self.read(values, self.number_of(values))

    def note_outside(self, values: Any) -> None:
        """Issues a warning for values, the result of `read`, at which the model extrapolates."""
        return

    def unknown(self, values: np.ndarray | None) -> np.ndarray:
        """Returns the positions of the values, the result of `checked`, that are not given."""
        return np.zeros(0, "int64")

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray | None:
        """Returns random values for `count` images, in the form that `checked` returns."""
        return None

    def scaled_tensor(self, values: Tensor) -> Tensor:
        """Returns a tensor of values as the network takes them, like `scaled` for arrays."""
        return values

    def learn(self, values: np.ndarray | None) -> None:
        """Sets what the conditions learn from the training data, if they don't know it yet.

        Args:
            values: The result of `read` for arrays; `None` for batches of a stream.

        Raises:
            ValueError: If something is not known that cannot be learned from a stream.
        """
        return

    def for_step(self, values: np.ndarray | None) -> np.ndarray | None:
        """Returns values, the result of `read`, as the `y` of a step of training."""
        return values

    def have_candidates(self, values: Any) -> bool:
        """Returns whether values, as the network takes them, have the axis of the candidates."""
        spec = self.spec(None, 1)
        return spec is not None and np.ndim(values) == len(spec.shape)

    def targets(self, y: Any) -> tuple[Tensor | None, Tensor | None]:
        """Converts the `y` of a training step to values `(batch, 1, ...)`.

        Also returns which ones are valid, bool `(batch,)`, or `None` for all. Class labels are
        compared in the loss instead.
        """
        return None, None

    def encoder(self, image_shape: Sequence[int]) -> keras.layers.Layer | None:
        """Returns a new layer that encodes values for the strategies, or `None` for none.

        Its result is that of `AutoregressiveNetwork.encoded`.
        """
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

    def look_up(self, table: Tensor, encoded: Tensor) -> Tensor:
        """Returns the entries of encoded values, which have the axes `shape` of `entries`.

        They are the last axes of the result, in place of the features of the encoded values.
        """
        raise self.refusal()

    def code(self, encoded: Tensor, dtype: str) -> Tensor:
        """Returns encoded values as numbers, `(..., code_size)`, for the network's input."""
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

    def read(self, values: Any, count: int, unknown: bool = True, several: bool = False) -> None:
        if values is not None and not np.array_equal(values, ANY_CLASS):
            raise invalid_argument("labels", values, "None, because the model is unconditional")

    def candidates(self, count: int) -> None:
        return None

    def number_of(self, values: Any) -> int:
        require_integer("labels", values)
        return int(values)

    def requested(self, values: Any) -> int:
        return self.number_of(values)
