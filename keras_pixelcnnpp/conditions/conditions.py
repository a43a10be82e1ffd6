"""The conditions of a model: a tuple of parts."""

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions.classes import ANY_CLASS, LABEL, all_classes
from keras_pixelcnnpp.conditions.labels import Labels
from keras_pixelcnnpp.conditions.part import PLACES, Part, part_from_config
from keras_pixelcnnpp.conditions.values import Values, as_candidates
from keras_pixelcnnpp.utils.backend import Shape, Tensor
from keras_pixelcnnpp.utils.checks import checked_class_names, require_integer
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class Conditions(tuple[Part, ...]):
    """What a model is conditioned on: a tuple of parts of different kinds, or none.

    To users, they are a part or a list of parts. They give the values of several parts as a tuple
    in the order of the parts, or as a dict by the names of the parts. A label of -1 or `None` is
    not known, and p(x | map) is then the mean of p(x | label, map) over equally likely classes. If
    only the label is missing and there is one other part, its values need no tuple.

    Inside the package, values are a dict from the names of the parts to arrays `(N, ...)`, in which
    `"label"` is the class, 0 if the model has no classes; see `classes.py`.

    A conditioning strategy has the weights of all parts, and adds up their entries.

    Args:
        parts: Parts of different kinds, such as `Labels(10)`, `Vectors(2)`, and `Maps((14, 14,
            1))`; none for an unconditional model.

    Raises:
        ValueError: If two parts are of one kind.

    Example:

    ```python
    conditions = [kp.Labels(10), kp.Maps.of_images((14, 14, 1))]
    model = kp.PixelCNNPlusPlus((28, 28, 1), conditions=conditions)
    model.compile("adam")
    model.fit(images, (labels, coarse))            # int (N,), uint8 (N, 14, 14, 1)
    model.fit(images, {"map": coarse, "label": labels})
    model.sample((3, coarse[:10]), seed=0)         # ten images of class 3
    model.log_prob(images, coarse)                 # log p(x | map), the mean over the classes
    model.class_probabilities(images, condition=coarse)  # p(y | x, map), (N, 10)
    ```
    """

    def __new__(cls, parts: Sequence[Part] = ()) -> Self:
        kinds = [part.kind for part in parts]
        if len({*kinds}) < len(kinds):
            raise invalid_argument("conditions", kinds, "one part of each kind")
        return super().__new__(cls, parts)

    # --- plain data ---------------------------------------------------------------------------

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of a model that create these conditions, as plain data."""
        if not self:
            return {"num_classes": 0}
        if len(self) == 1 and self.labels:
            return self.labels.config()
        return {"conditions": [{"kind": part.kind, **part.config()} for part in self]}

    @property
    def labels(self) -> Labels | None:
        """The part that is the class, or `None`."""
        return next((part for part in self if isinstance(part, Labels)), None)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without labels."""
        return self.labels.num_classes if self.labels else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.labels.names if self.labels else ()

    @property
    def all_classes(self) -> np.ndarray:
        """The classes over which p(x) is a mean, int32; without labels, it is one, 0."""
        return all_classes(self.num_classes)

    @property
    def description(self) -> str:
        """What the conditions are, for messages, such as `"10 classes"`."""
        return " and ".join(part.description for part in self) or "no condition"

    @property
    def one_value(self) -> str:
        """What messages call the value of one image, such as `"label and map"`."""
        return " and ".join(part.name for part in self)

    @property
    def several_values(self) -> str:
        """What messages call the values of images, such as `"(labels, maps)"`."""
        kinds = ", ".join(part.kind for part in self)
        return kinds if len(self) == 1 else f"({kinds})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all parts: those of classes, and of components."""
        return tuple(itertools.chain(*(part.names for part in self)))

    @property
    def needs_values(self) -> bool:
        """Whether there is no p(x), because a part needs a value for each image."""
        return any(part.needs_values for part in self)

    @property
    def compressible(self) -> bool:
        """Whether the codec can encode the values exactly."""
        return all(part.compressible for part in self)

    @property
    def exportable(self) -> bool:
        """Whether a SavedModel can take the values."""
        return all(part.exportable for part in self)

    @property
    def tileable(self) -> bool:
        """Whether the values of a frame give those of each of its windows."""
        return all(part.tileable for part in self)

    @property
    def conditioned_blocks(self) -> str:
        """Default of this argument of `PixelCNNPlusPlus`."""
        blocks = {part.conditioned_blocks for part in self}
        return "all" if "all" in blocks else Part.conditioned_blocks

    @property
    def places(self) -> tuple[str, ...]:
        """The places at which strategies can use all parts."""
        return tuple(place for place in PLACES if all(place in part.places for part in self))

    def require_classes(self) -> None:
        """Raises a `UserError` if values have no class."""
        if not self.labels:
            raise UserError(
                "Expected a class-conditional model. Received: a model conditioned on "
                f"{self.description}, which has no classes"
            )

    # --- values -------------------------------------------------------------------------------

    def spec(self, batch: int | None, candidates: int) -> dict[str, keras.KerasTensor]:
        """Returns the shape and dtype of values of `candidates` classes of each image."""
        specs = {part.name: keras.KerasTensor((batch, 1, *part.shape), part.dtype) for part in self}
        return {**specs, LABEL: keras.KerasTensor((batch, candidates), "int32")}

    def by_name(self, given: Any) -> dict[str, Any]:
        """Returns what was given for each part by its name, `None` for nothing.

        Raises:
            UserError: If it cannot be told which part a value belongs to.
        """
        names = [part.name for part in self]
        if given is None:
            return dict.fromkeys(names)
        if isinstance(given, dict) and {*given} <= {*names}:
            return {name: given.get(name) for name in names}
        if len(names) == 1:
            return {names[0]: given}
        if isinstance(given, tuple):
            if len(given) == len(names):
                return dict(zip(names, given, strict=True))
        elif LABEL in names and len(names) == 2:
            return {name: None if name == LABEL else given for name in names}
        received = f"a tuple of {len(given)}" if isinstance(given, tuple) else type(given).__name__
        raise UserError(
            f"Invalid value of the condition. Expected a tuple ({', '.join(names)}), or a dict "
            f"with these keys, for a model of {self.description}. Received: {received}"
        )

    def parse(self, given: Any, count: int, unknown: bool = True, several: bool = False) -> Values:
        """Returns the condition of `count` images that a user gave, in its own units.

        Args:
            given: The condition that a user gave, `None` for none.
            count: Integer, number of images.
            unknown: Boolean, whether a class that is not known is accepted.
            several: Boolean, whether several values for each image are accepted.

        Raises:
            ValueError: If the values don't fit.
        """
        if not self:
            _require_unlabeled(given, count)
            given = None
        by_name, how = self.by_name(given), (count, unknown, several)
        values = {part.name: part.parse(by_name[part.name], *how) for part in self}
        return {LABEL: np.zeros(count, "int32"), **values}

    def parse_for_samples(self, given: Any) -> Values:
        """Returns what a user gave for new images; for an unconditional model, their number.

        Raises:
            ValueError: If the values don't fit.
        """
        if not self:
            require_integer("condition", given)
            return self.parse(None, int(given))
        of_parts = zip(self, self.by_name(given).values(), strict=True)
        counts = [part.number_of(one) for part, one in of_parts if one is not None]
        return self.parse(given, max(counts, default=1))

    def parse_without(self, kind: type[Part], given: Any, count: int) -> Values:
        """Returns the values of all parts except that of a kind.

        `given` are those of the other parts: a tuple in their order, a dict by their names, or
        those of the only one.

        Raises:
            ValueError: If the values don't fit, or there are no other parts to give values for.
        """
        others = Conditions([part for part in self if not isinstance(part, kind)])
        if not others and given is not None:
            raise invalid_argument("condition", given, f"None for a model of {self.description}")
        return others.parse(given, count)

    def note_one_for_all(self, given: Any, count: int) -> None:
        """Issues a warning if one value was given for many training images."""
        by_name = self.by_name(given)
        for part in self:
            part.note_one_for_all(by_name[part.name], count)

    def from_data(self, images: Any) -> dict[str, Any]:
        """Returns the condition of `LabeledImages`, as a user would give it.

        Raises:
            UserError: If the images lack it.
        """
        return {part.name: part.values_in(images) for part in self}

    def texts(self, images: Any) -> list[str]:
        """Returns what tells equal images with different values apart, for `LabeledImages`.

        It is empty for labels: an image is the same one, whatever its label is.
        """
        of_parts = [[""] * len(images), *(part.texts(part.values_in(images)) for part in self)]
        return [" ".join(filter(None, texts)) for texts in zip(*of_parts, strict=True)]

    def example(self, rng: np.random.Generator, count: int) -> Values:
        """Returns random values for `count` images, as the network takes them."""
        values = {part.name: part.example(rng, count) for part in self}
        return {LABEL: np.zeros(count, "int32"), **values}

    def have_candidates(self, values: Values) -> bool:
        """Returns whether a user gave several values for each image."""
        return any(part.have_candidates(values[part.name]) for part in self)

    def candidates_of(self, values: Values) -> Values:
        """Returns values with the axis of the candidates: those that a user gave, or one."""
        several = [part.name for part in self if part.have_candidates(values[part.name])]
        return as_candidates(values) | {name: values[name] for name in several}

    # --- SavedModels --------------------------------------------------------------------------

    def served(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Returns the inputs of a SavedModel: the shape of a value and the dtype, by name."""
        return {part.kind: part.served() for part in self} or {Labels.kind: ((), "int32")}

    def from_served(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the inputs of a SavedModel by the names of the parts."""
        return {part.name: inputs[part.kind] for part in self}

    def prepared(self, parsed: Values) -> dict[str, np.ndarray]:
        """Returns the result of `parse` as the inputs of a SavedModel.

        Values at which the model extrapolates issue a warning.
        """
        if not self:
            return {Labels.kind: np.full(len(parsed[LABEL]), ANY_CLASS, "int32")}
        return {part.kind: part.prepared(parsed[part.name]) for part in self}

    # --- frames -------------------------------------------------------------------------------

    def pixel_size(self, image_shape: Sequence[int]) -> tuple[int, int]:
        """Returns how many rows and columns of an image a pixel of a value covers, at most."""
        sizes = [part.pixel_size(image_shape) for part in self]
        return max((h for h, _ in sizes), default=1), max((w for _, w in sizes), default=1)

    def of_frame(self, size: Sequence[int], image_shape: Sequence[int]) -> "Conditions":
        """Returns the conditions of frames of a height and width, larger than the images."""
        return Conditions([part.of_frame(size, image_shape) for part in self])

    def in_window(self, values: Values, rows: slice, columns: slice) -> Values:
        """Returns the part of values `(batch, ...)` of frames that belongs to a window.

        `rows` and `columns` count pixels of the values.
        """
        windows = {part.name: part.in_window(values[part.name], rows, columns) for part in self}
        return {**values, **windows}

    # --- weights ------------------------------------------------------------------------------

    @property
    def num_rows(self) -> int:
        """Number of rows of a table of weights; 0 without parts."""
        return sum(part.num_rows for part in self)

    @property
    def code_size(self) -> int:
        """Number of channels of the result of `code`."""
        return sum(part.code_size for part in self)

    def entries(
        self, layer: keras.layers.Layer, name: str, shape: Shape, initializer: str
    ) -> keras.Variable:
        """Creates a table of weights of a layer, which has an entry of `shape` for each value."""
        return layer.add_weight(name=name, shape=(self.num_rows, *shape), initializer=initializer)

    def look_up(self, table: Tensor, encoded: Sequence[Tensor]) -> Tensor:
        """Returns the entries of encoded values, which are the sums of those of the parts.

        The axes of an entry are the last ones of the result, in place of the features of the
        encoded values.
        """
        tables = self._tables(ops.convert_to_tensor(table))
        found = [part.look_up(*both) for part, *both in zip(self, tables, encoded, strict=True)]
        return functools.reduce(operator.add, found)

    def _tables(self, table: Tensor) -> list[Tensor]:
        """Returns the rows of a table that belong to each part."""
        if len(self) == 1:  # a slice of all rows is a copy in TensorFlow
            return [table]
        ends = [0, *itertools.accumulate(part.num_rows for part in self)]
        return [table[start:end] for start, end in itertools.pairwise(ends)]

    def code(self, encoded: Sequence[Tensor], dtype: str) -> Tensor:
        """Returns encoded values as numbers, `(..., code_size)`, for the network's input."""
        codes = [part.code(one, dtype) for part, one in zip(self, encoded, strict=True)]
        zeros = sum(ops.zeros_like(code[..., :1]) for code in codes)  # of the common shape
        return ops.concatenate([code + zeros for code in codes], axis=-1)


def _require_unlabeled(given: Any, count: int) -> None:
    """Raises a `UserError` if an unconditional model is given something else than no labels."""
    if given is None or (isinstance(given, dict) and not given):
        return
    # -1 marks images without labels in data.
    is_none = np.array_equal(np.unique(np.asarray(given)), [ANY_CLASS])
    if not is_none or np.shape(given) not in ((), (count,)):
        raise invalid_argument("condition", given, "None, because the model is unconditional")


def conditions_of(
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    conditions: "Part | Sequence[Part] | dict[str, Any] | None" = None,
) -> Conditions:
    """Returns the conditions that these arguments of a model describe.

    `num_classes` is the shorthand for `Labels`, or with 0 for no condition. `conditions` are one
    part, such as `Labels(10)`, or a list of parts of different kinds. In a saved configuration, a
    part is a dict with its `kind` and the arguments of its class.

    Raises:
        ValueError: If the arguments are out of range, or describe no or two conditions.

    Example:

    >>> conditions_of(num_classes=3).class_names
    ('Class0', 'Class1', 'Class2')
    >>> conditions_of(conditions=[Labels(3), Vectors(1)]).description
    '3 classes and vectors (h0)'
    """
    if conditions is None:
        if num_classes is None:
            expected = "the number of classes, or 0 for an unconditional model; or `conditions`"
            raise invalid_argument("num_classes", num_classes, expected)
        require_integer("num_classes", num_classes, low=0, high=100_000)
        if num_classes:
            return Conditions([Labels(num_classes, class_names)])
        checked_class_names(class_names, 0)
        return Conditions()
    given = {"num_classes": num_classes, "class_names": class_names}
    if wrong := [name for name, value in given.items() if value is not None]:
        raise invalid_argument(wrong[0], given[wrong[0]], "None, because `conditions` are given")
    parts = conditions if isinstance(conditions, list | tuple) else [conditions]
    return Conditions([_as_part(part) for part in parts])


def _as_part(given: Any) -> Part:
    if isinstance(given, dict):
        return part_from_config(given)
    if not isinstance(given, Part):
        expected = "a part such as Labels(10), or a list of parts"
        raise invalid_argument("conditions", given, expected)
    return given


def as_conditions(conditions: Part | Sequence[Part] | int) -> Conditions:
    """Returns `conditions`; an integer, a number of classes, stands for `Labels`."""
    if isinstance(conditions, Part | Sequence):
        return conditions_of(conditions=conditions)
    require_integer("num_classes", conditions)
    return Conditions([Labels(conditions)])
