"""Base classes of the conditions of a model: what a condition is, and the layer that encodes it.

A `Conditions` object says how the values of a condition are read, which class is in one, and which
weights the conditioning strategies have for it. It is plain data, which never changes. Its
`ConditionEncoder` is a layer of the network, which holds everything learned from training data.

Inside the package, the values of N images are an array `(N, ...)`, or a dict of arrays for several
parts; see `values.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions.values import (
    as_candidates,
    first_candidate,
    num_images,
    taken,
)
from keras_pixelcnnpp.utils.backend import Nest, Shape, Tensor
from keras_pixelcnnpp.utils.checks import require_choice
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

# The class of an image that is not given. In data, the class is not known. In scoring, -1 stands
# for the mean of p(x | y) over equally likely classes. In sampling, it stands for a random class,
# given the known pixels. The class of the shortest code, in compression, is `None`.
ANY_CLASS = -1

#: The places of a network at which a strategy can act; see `Conditioning`.
PLACES = ("input", "stem", "hidden", "gate", "bottleneck", "head")

#: Positions in an array of images, and the values `(positions, candidates, ...)` under which each
#: of these images is evaluated.
Group = tuple[np.ndarray, Nest]


#: The kinds of conditions by their `kind` in saved configurations. A class adds itself.
KINDS: dict[str, type["Conditions"]] = {}


def conditions_from_config(config: Any) -> "Conditions":
    """Returns the conditions of a saved configuration: a `kind`, and the arguments of its class.

    Raises:
        ValueError: If the kind is unknown, or the arguments don't fit.
    """
    if not isinstance(config, dict):
        raise invalid_argument("conditions", config, "a dict with the kind and its arguments")
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    require_choice("kind", kind, tuple(KINDS))
    return KINDS[kind].from_config(arguments)


class Conditions(ABC):
    """Base class of the conditions of a model.

    The attributes describe a kind of condition. By default, values have no class, and what needs
    more of a condition (compression, export, frames) refuses it.

    Attributes:
        kind: String, key of the class in `KINDS`, and what messages call several values.
        noun: String, what messages call one value.
        description: What the conditions are, for messages, such as `"10 classes"`.
        names: Tuple of names: those of the classes, or of the components of a vector.
        num_classes: Integer, number of classes; 0 if values have no class.
        class_names: Tuple of the classes' names.
        needs_values: Boolean, whether each image needs a value, because p(x) without one is not a
            mean over a finite number of values.
        num_rows: Integer, number of rows of a table of weights; 1 or 0 if nothing can depend on
            the condition.
        code_size: Integer, number of channels of the result of `code`.
        places: Tuple of strings, the places at which strategies can use the condition.
        conditioned_blocks: String, default of this argument of `PixelCNNPlusPlus`.
        compressible: Boolean, whether the codec can encode the values exactly.
        exportable: Boolean, whether a SavedModel can take the values.
        tileable: Boolean, whether a value of a frame gives one for each of its windows.
    """

    kind: str
    noun: str
    description: str
    names: tuple[str, ...] = ()
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    needs_values: bool = False
    num_rows: int = 0
    code_size: int = 0
    places: tuple[str, ...] = PLACES
    conditioned_blocks: str = "up_horizontal"
    compressible: bool = False
    exportable: bool = False
    tileable: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in vars(cls):
            KINDS[cls.kind] = cls

    # --- plain data ---------------------------------------------------------------------------

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Returns the arguments that create equal conditions, as plain data, without the kind."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Conditions":
        """Creates conditions from the result of `config`."""
        return cls(**config)

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of a model that create these conditions, as plain data."""
        return {"conditions": {"kind": self.kind, **self.config()}}

    # --- values -------------------------------------------------------------------------------

    @abstractmethod
    def spec(self, batch: int | None, candidates: int) -> Nest:
        """Returns the shape and dtype of values of `candidates` candidates of each image.

        Candidates that differ in their classes share all other values, which have the axis 1.
        """

    @abstractmethod
    def parse(self, given: Any, count: int, unknown: bool = True, several: bool = False) -> Nest:
        """Returns the condition of `count` images that a user gave as an array, in its own units.

        Args:
            given: The condition that a user gave, `None` for none.
            count: Integer, number of images.
            unknown: Boolean, whether a class that is not known is accepted.
            several: Boolean, whether several values for each image are accepted.

        Raises:
            ValueError: If the values don't fit.
        """

    def own(self, given: Any) -> Any:
        """Returns what is given for these conditions, of a dict by the names of parts."""
        if isinstance(given, dict) and {*given} == {self.noun}:
            return given[self.noun]
        return given

    def note_one_for_all(self, given: Any, count: int) -> None:
        """Issues a warning if one value of the condition was given for many training images."""
        return

    @abstractmethod
    def number_of(self, given: Any) -> int:
        """Returns the number of images for which a user gave a condition, to sample them.

        Raises:
            ValueError: If the condition doesn't fit.
        """

    def parse_without(
        self, kind: type["Conditions"], given: Any, count: int
    ) -> dict[str, np.ndarray]:
        """Returns the values of all parts except that of a kind, by their names.

        `given` are those of the other parts: a tuple in their order, a dict by their names, or
        those of the only one.

        Raises:
            ValueError: If the values don't fit, or there are no other parts to give values for.
        """
        others = [part for part in self.parts if not isinstance(part, kind)]
        nouns = [part.noun for part in others]
        if isinstance(given, dict) and {*given} <= {*nouns}:
            given = tuple(given.get(noun) for noun in nouns)
        if not others and given is not None:
            raise invalid_argument("condition", given, f"None for a model of {self.description}")
        if not isinstance(given, tuple):
            given = (given, *(None for _ in others[1:]))[: len(others)]
        if len(given) != len(others):
            raise invalid_argument("condition", given, f"a tuple ({', '.join(nouns)})")
        return {part.noun: part.parse(one, count) for part, one in zip(others, given, strict=True)}

    @property
    def parts(self) -> "tuple[Conditions, ...]":
        """The conditions of which these ones consist, by default themselves alone."""
        return (self,)

    def assembled(self, by_kind: dict[str, Any]) -> Any:
        """Returns the condition, as a user would give it, from the values of each kind."""
        return by_kind[self.kind]

    def from_data(self, images: Any) -> Any:
        """Returns the condition of `LabeledImages`, as a user would give it.

        Raises:
            UserError: If the images lack it.
        """
        return self.assembled({part.kind: part.values_in(images) for part in self.parts})

    def values_in(self, images: Any) -> Any:
        """Returns the values of these conditions, which have no parts, in `LabeledImages`."""
        return getattr(images, self.kind)

    def texts(self, images: Any) -> list[str]:
        """Returns what tells equal images with different values apart, for `LabeledImages`.

        It is empty for labels: an image is the same one, whatever its label is.
        """
        return [""] * len(images)

    def served(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Returns the inputs of a SavedModel: the shape of a value and the dtype, by name."""
        return {}

    def from_served(self, inputs: Sequence[Tensor]) -> Nest:
        """Returns the inputs of a SavedModel, in the order of `served`, as values."""
        return inputs[0]

    def prepared(self, parsed: Nest) -> Nest:
        """Returns the result of `parse` as a SavedModel takes it.

        Values at which the model extrapolates issue a warning.
        """
        return parsed

    @abstractmethod
    def example(self, rng: np.random.Generator, count: int) -> Nest:
        """Returns random values for `count` images, as the network takes them."""

    def have_candidates(self, values: Nest) -> bool:
        """Returns whether a user gave several values for each image."""
        return len(values.shape) == len(self.spec(None, 1).shape)

    def candidates_of(self, values: Nest) -> Nest:
        """Returns values with the axis of the candidates: those that a user gave, or one."""
        return values if self.have_candidates(values) else as_candidates(values)

    # --- frames -------------------------------------------------------------------------------

    def pixel_size(self, image_shape: Sequence[int]) -> tuple[int, int]:
        """Returns how many rows and columns of an image a pixel of a value covers.

        It is (1, 1) for values that hold for the whole image.
        """
        return 1, 1

    def of_frame(self, size: Sequence[int], image_shape: Sequence[int]) -> "Conditions":
        """Returns the conditions of frames of a height and width, larger than the images.

        Values that hold for a whole image hold for a whole frame.
        """
        return self

    def in_window(self, values: Nest, rows: slice, columns: slice) -> Nest:
        """Returns the part of values `(batch, ...)` of frames that belongs to a window.

        `rows` and `columns` count pixels of the values.
        """
        return values

    # --- classes ------------------------------------------------------------------------------

    @property
    def all_classes(self) -> np.ndarray:
        """The classes over which p(x) is a mean, int32; one class 0 if there are no classes."""
        return np.arange(max(1, self.num_classes), dtype="int32")

    def class_of(self, values: Any) -> Any:
        """Returns the class in each value, int32 `(batch,)`, -1 if it is not known.

        Values without classes have the class 0. Arrays and tensors give their like.
        """
        if isinstance(keras.tree.flatten(values)[0], np.ndarray):
            return np.zeros(num_images(values), "int32")
        return ops.zeros((num_images(values),), "int32")

    def with_class(self, values: Any, classes: Any) -> Any:
        """Returns values `(batch, K, ...)`: each value of `(batch, ...)` with K classes.

        `classes` are int32 `(batch, K)`, or `(K,)` for all. Arrays and tensors give their like. If
        a user gave several values for each image, each of them has all classes, in this order.
        """
        return self.candidates_of(values)

    def with_one_class(self, values: Any, classes: Any) -> Any:
        """Returns values `(batch, ...)` with other classes, int32 `(batch,)`."""
        return first_candidate(self.with_class(values, classes[:, None]))

    def completions(self, values: Any) -> Any:
        """Returns all equally likely values `(batch, K, ...)` that agree with the known ones.

        p(x) of a value `(batch, ...)` whose class is not known is the mean over them.
        """
        return self.with_class(values, self.all_classes)

    def groups(self, values: Nest) -> Iterator[Group]:
        """Yields the images whose class is known, with one value, and the others, with all.

        Scoring takes the mean over the second axis of the values. If a user gave several values for
        each image, this axis has all classes of the first value, then those of the next one.
        """
        is_known = self.class_of(values) >= 0
        known, others = np.flatnonzero(is_known), np.flatnonzero(~is_known)
        if len(known):
            # Not a copy of all, which may have many candidates.
            some = taken(values, known) if len(others) else values
            yield known, self.candidates_of(some)
        if len(others):
            yield others, self.completions(taken(values, others))

    def choose_classes(
        self, true: Tensor, count: int, seed_generator: keras.random.SeedGenerator
    ) -> Tensor:
        """Returns each image's true class and random others, for a loss that compares them.

        Args:
            true: Int tensor `(batch,)`, the true classes.
            count: Integer, number of classes of each image.
            seed_generator: Source of the random numbers.

        Returns:
            Int tensor `(batch, count)`. The first class of each image is the true one.
        """
        true = true[:, None]
        if count == self.num_classes:  # no random numbers are used
            others = (true + ops.arange(1, count, dtype="int32")) % count
        else:
            shape = (ops.shape(true)[0], self.num_classes)
            scores = keras.random.uniform(shape, seed=seed_generator)
            scores = ops.where(true == ops.arange(self.num_classes, dtype="int32"), -1.0, scores)
            others = ops.cast(ops.top_k(scores, count - 1)[1], "int32")
        return ops.concatenate([true, others], axis=1)

    def require_classes(self) -> None:
        """Raises a `UserError` if values have no class."""
        if not self.num_classes:
            raise UserError(
                "Expected a class-conditional model. Received: a model conditioned on "
                f"{self.description}, which has no classes"
            )

    # --- weights ------------------------------------------------------------------------------

    @abstractmethod
    def encoder(self, image_shape: Sequence[int], name: str = "encoder") -> "ConditionEncoder":
        """Returns a new layer that encodes values for the strategies."""

    def entries(
        self, layer: keras.layers.Layer, name: str, shape: Shape, initializer: str
    ) -> keras.Variable:
        """Creates a table of weights of a layer, which has an entry of `shape` for each value."""
        return layer.add_weight(name=name, shape=(self.num_rows, *shape), initializer=initializer)

    @abstractmethod
    def look_up(self, table: Tensor, encoded: Nest) -> Tensor:
        """Returns the entries of encoded values, which have the axes `shape` of `entries`.

        They are the last axes of the result, in place of the features of the encoded values.
        """

    def code(self, encoded: Nest, dtype: str) -> Tensor:
        """Returns encoded values as numbers, `(..., code_size)`, for the network's input."""
        raise NotImplementedError(f"{self.kind} have no code, so `places` lacks 'input'")


class ConditionEncoder(keras.layers.Layer):
    """Base class of the layers that encode the values of a condition for the strategies.

    Args:
        conditions: The conditions.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Tensor `(batch, candidates, ...)`.

    Returns:
        A list with the encoded values at each resolution, of which the last also holds for lower
        ones: tensors `(batch, candidates, height, width, ...)`, or tuples of them. Height and width
        are 1 if the condition is the same everywhere. The list is empty if there is no condition.
    """

    def __init__(self, conditions: Conditions, **kwargs: Any):
        # float32 under every policy, because neighboring values differ little.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.conditions = conditions
        self.built = True

    def of_part(self, name: str) -> "ConditionEncoder":
        """Returns the encoder of a part of the conditions."""
        return self

    @property
    def learned(self) -> Conditions:
        """The conditions with what the encoder has learned from training data."""
        return self.conditions

    def require_same_scale(self, trained: "ConditionEncoder") -> None:
        """Raises a `UserError` if the weights of a trained encoder scale values in another way."""
        return

    def learn(self, parsed: Nest | None) -> None:
        """Sets what the encoder learns from the training data, if it is not known yet.

        Args:
            parsed: The result of `Conditions.parse`; `None` for batches of a stream.

        Raises:
            ValueError: If something is not known that cannot be learned from a stream.
        """
        return

    def scaled(self, parsed: Nest) -> Nest:
        """Returns the result of `Conditions.parse` as the network takes it, `(N, ...)`.

        Values at which the model extrapolates issue a warning.
        """
        return parsed

    def scaled_tensor(self, parsed: Nest) -> Nest:
        """Returns tensors as the network takes them, like `scaled` for arrays."""
        return parsed

    def for_step(self, values: Nest) -> Nest:
        """Returns the result of `scaled` as the `y` of a step, in which `targets` recognizes it."""
        return values

    def wrong_values(self, y: Nest | None) -> str:
        """Returns what is wrong with the `y` of a batch of a stream; empty if that is not known."""
        return ""

    def targets(self, y: Nest | None, count: int | Tensor) -> tuple[Tensor, Tensor]:
        """Converts the `y` of a step, the result of `for_step` or a batch of a stream, to values.

        Returns:
            The values `(batch, ...)`, and which ones are valid, bool `(batch,)`. Those that are not
            valid are replaced by valid ones.

        Raises:
            ValueError: If values are missing, or have another shape or dtype.
        """
        raise NotImplementedError
