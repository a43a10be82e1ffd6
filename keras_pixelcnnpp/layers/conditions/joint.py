"""Several conditions at once."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.layers.conditions.base import (
    ConditionEncoder,
    Conditions,
    conditions_from_config,
)
from keras_pixelcnnpp.utils.backend import Nest, Tensor
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class Joint(Conditions):
    """Several conditions at once: a label, a vector, and a map, or two of them.

    Users give the values as a tuple in the order of the parts. A label of -1 or `None` is not
    known, and p(x | map) is then the mean of p(x | label, map) over equally likely classes. If only
    the label is missing and there is one other part, its values need no tuple.

    A conditioning strategy has the weights of all parts, and adds up their entries. Without a
    label, the other parts are encoded once for an image, and not once for each class.

    Args:
        *parts: Two or more conditions of different kinds, such as `Labels(10)`, `Vectors(2)`, and
            `Maps((14, 14, 1))`.

    Raises:
        ValueError: If there are fewer than two parts, or two of one kind.

    Example:

    ```python
    conditions = kp.Joint(kp.Labels(10), kp.Maps.of_images((14, 14, 1)))
    model = kp.PixelCNNPlusPlus((28, 28, 1), conditions=conditions)
    model.compile("adam")
    model.fit(images, (labels, coarse))            # int (N,), uint8 (N, 14, 14, 1)
    model.sample((3, coarse[:10]), seed=0)         # ten images of class 3
    model.log_prob(images, coarse)                 # log p(x | map), the mean over the classes
    model.class_probabilities(images, coarse)      # p(y | x, map), (N, 10)
    ```
    """

    kind = "joint"
    noun = "condition"
    exportable = True
    tileable = True

    def __init__(self, *parts: Conditions):
        kinds = [getattr(part, "kind", None) for part in parts]
        if len(parts) < 2 or not {*kinds} <= {"labels", "vectors", "maps"}:
            expected = "two or three of Labels, Vectors and Maps"
            raise invalid_argument("parts", parts, expected)
        if len({*kinds}) < len(kinds):
            raise invalid_argument("parts", kinds, "one condition of each kind")
        self._parts = parts
        self.description = " and ".join(part.description for part in parts)
        self.names = tuple(itertools.chain(*(part.names for part in parts)))
        self.needs_values = any(part.needs_values for part in parts)
        self.num_rows = sum(part.num_rows for part in parts)
        self.code_size = sum(part.code_size for part in parts)
        places = set.intersection(*({*part.places} for part in parts))
        self.places = tuple(place for place in parts[0].places if place in places)
        blocks = {part.conditioned_blocks for part in parts}
        self.conditioned_blocks = "all" if "all" in blocks else parts[0].conditioned_blocks
        # The part with classes, and where its class is in a value.
        self._shapes = [part.spec(None, 1).shape[2:] for part in parts]
        self._starts = [0, *itertools.accumulate(math.prod(shape) for shape in self._shapes)]
        self._labels = kinds.index("labels") if "labels" in kinds else None
        if self._labels is not None:
            self.num_classes = parts[self._labels].num_classes
            self.class_names = parts[self._labels].class_names

    @property
    def parts(self) -> tuple[Conditions, ...]:
        return self._parts

    def config(self) -> dict[str, Any]:
        return {"parts": [{"kind": part.kind, **part.config()} for part in self.parts]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Joint":
        parts = config.get("parts")
        if {*config} != {"parts"} or not isinstance(parts, list | tuple):
            raise invalid_argument("conditions", config, "a list of the parts of joint conditions")
        return cls(*map(conditions_from_config, parts))

    # --- values -------------------------------------------------------------------------------

    def spec(self, batch: int | None, candidates: int) -> keras.KerasTensor:
        return keras.KerasTensor((batch, candidates, self._starts[-1]), "float32")

    def parse(
        self, given: Any, count: int, unknown: bool = True, several: bool = False
    ) -> tuple[np.ndarray, ...]:
        """Returns a tuple with the values of each part."""
        pairs = zip(self.parts, self._given_parts(given), strict=True)
        return tuple(part.parse(one, count, unknown) for part, one in pairs)

    def parse_without(
        self, kind: type[Conditions], given: Any, count: int
    ) -> tuple[np.ndarray | None, ...]:
        """Returns the values of all parts except that of a kind, in whose place `None` is.

        `given` are those of the other parts: a tuple in their order, or those of the only one.
        """
        others = [part for part in self.parts if not isinstance(part, kind)]
        given = given if isinstance(given, tuple) else (given,) + (None,) * (len(others) - 1)
        if len(given) != len(others):
            nouns = ", ".join(part.noun for part in others)
            raise invalid_argument("condition", given, f"a tuple ({nouns})")
        found = iter([part.parse(one, count) for part, one in zip(others, given, strict=True)])
        return tuple(None if isinstance(part, kind) else next(found) for part in self.parts)

    def _given_parts(self, given: Any) -> tuple[Any, ...]:
        """Returns what a user gave for each part, `None` for nothing."""
        if given is None:
            return (None,) * len(self.parts)
        if isinstance(given, tuple) and len(given) == len(self.parts):
            return given
        if len(self.parts) == 2 and self._labels is not None and not isinstance(given, tuple):
            return (None, given) if self._labels == 0 else (given, None)
        nouns = ", ".join(part.noun for part in self.parts)
        received = f"a tuple of {len(given)}" if isinstance(given, tuple) else type(given).__name__
        raise UserError(
            f"Invalid value for argument `condition`. Expected a tuple ({nouns}) for a model of "
            f"{self.description}. Received: {received}"
        )

    def note_one_for_all(self, given: Any, count: int) -> None:
        for part, one in zip(self.parts, self._given_parts(given), strict=True):
            part.note_one_for_all(one, count)

    def number_of(self, given: Any) -> int:
        pairs = zip(self.parts, self._given_parts(given), strict=True)
        numbers = [part.number_of(one) for part, one in pairs if one is not None]
        return max(numbers, default=1)

    def assembled(self, by_kind: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(by_kind[part.kind] for part in self.parts)

    def texts(self, images: Any) -> list[str]:
        each = zip(*(part.texts(images) for part in self.parts), strict=True)
        return [" ".join(filter(None, texts)) for texts in each]

    def served(self) -> dict[str, tuple[tuple[int, ...], str]]:
        inputs: dict[str, tuple[tuple[int, ...], str]] = {}
        for part in self.parts:
            inputs |= part.served()
        return inputs

    def prepared(self, parsed: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return tuple(part.prepared(one) for part, one in zip(self.parts, parsed, strict=True))

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return self.packed([part.example(rng, count) for part in self.parts])

    def packed(self, values: Sequence[Any]) -> Any:
        """Returns the values of the parts, each `(batch, ...)`, as one array or tensor."""
        is_array = isinstance(values[0], np.ndarray)
        xp, size = (np, len(values[0])) if is_array else (ops, ops.shape(values[0])[0])
        flat = [
            xp.reshape(
                one.astype("float32") if is_array else ops.cast(one, "float32"),
                (size, math.prod(one.shape[1:])),
            )
            for one in values
        ]
        return xp.concatenate(flat, axis=1)

    def split(self, values: Any) -> list[Any]:
        """Returns the values of the parts, from the last axis of an array or a tensor."""
        is_array, found = isinstance(values, np.ndarray), []
        leading = (len(values) if is_array else -1, *values.shape[1:-1])
        for index, part in enumerate(self.parts):
            one = values[..., self._starts[index] : self._starts[index + 1]]
            shape = (*leading, *self._shapes[index])
            dtype = part.spec(None, 1).dtype
            if is_array:
                found.append(np.reshape(one, shape).astype(dtype))
            else:
                found.append(ops.cast(ops.reshape(one, shape), dtype))
        return found

    # --- frames -------------------------------------------------------------------------------

    def pixel_size(self, image_shape: Sequence[int]) -> tuple[int, int]:
        sizes = [part.pixel_size(image_shape) for part in self.parts]
        return max(rows for rows, _ in sizes), max(columns for _, columns in sizes)

    def of_frame(self, size: Sequence[int], image_shape: Sequence[int]) -> "Joint":
        return Joint(*(part.of_frame(size, image_shape) for part in self.parts))

    def in_window(self, values: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        pairs = zip(self.parts, self.split(values), strict=True)
        return self.packed([part.in_window(one, rows, columns) for part, one in pairs])

    # --- classes ------------------------------------------------------------------------------

    def class_of(self, values: Any) -> Any:
        if self._labels is None:
            return super().class_of(values)
        return self.split(values)[self._labels]

    def with_class(self, values: Any, classes: Any) -> Any:
        if self._labels is None:
            return super().with_class(values, classes)
        start, labels = self._starts[self._labels], self.parts[self._labels]
        xp = np if isinstance(values, np.ndarray) else ops
        classes = labels.with_class(self.class_of(values), classes)[..., None]
        classes = xp.cast(classes, "float32") if xp is ops else classes.astype("float32")
        zeros = xp.zeros_like(classes)
        before, after = values[:, None, :start] + zeros, values[:, None, start + 1 :] + zeros
        return xp.concatenate([before, classes, after], axis=-1)

    # --- weights ------------------------------------------------------------------------------

    def encoder(self, image_shape: Sequence[int], name: str = "encoder") -> "JointEncoder":
        return JointEncoder(self, image_shape, name=name)

    def encode_once(self, part: int, values: Tensor) -> Tensor:
        """Returns the values `(batch, K, ...)` of a part, with K = 1 if all candidates share them.

        The candidates of an image differ only in their classes, if there are classes.
        """
        return values if self._labels in (None, part) else values[:, :1]

    def look_up(self, table: Tensor, encoded: Nest) -> Tensor:
        table = ops.convert_to_tensor(table)
        ends = [0, *itertools.accumulate(part.num_rows for part in self.parts)]
        return sum(
            part.look_up(table[start:end], one)
            for part, one, (start, end) in zip(
                self.parts, encoded, itertools.pairwise(ends), strict=True
            )
        )

    def code(self, encoded: Nest, dtype: str) -> Tensor:
        codes = [part.code(one, dtype) for part, one in zip(self.parts, encoded, strict=True)]
        zeros = sum(ops.zeros_like(code[..., :1]) for code in codes)  # of the common shape
        return ops.concatenate([code + zeros for code in codes], axis=-1)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class JointEncoder(ConditionEncoder):
    """Encodes each part of joint conditions, as tuples at each resolution.

    Args:
        conditions: The conditions, a `Joint`.
        image_shape: Triple of integers, the shape of an image.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Float tensor `(batch, candidates, size)`, the packed values of the parts.
    """

    conditions: Joint

    def __init__(self, conditions: Joint, image_shape: Sequence[int], **kwargs: Any):
        super().__init__(conditions, **kwargs)
        self.encoders = [part.encoder(image_shape, part.kind) for part in conditions.parts]

    @property
    def learned(self) -> Joint:
        return Joint(*(encoder.learned for encoder in self.encoders))

    def learn(self, parsed: tuple[np.ndarray, ...] | None) -> None:
        for index, encoder in enumerate(self.encoders):
            encoder.learn(None if parsed is None else parsed[index])

    def scaled(self, parsed: tuple[np.ndarray, ...]) -> np.ndarray:
        pairs = zip(self.encoders, parsed, strict=True)
        return self.conditions.packed([encoder.scaled(one) for encoder, one in pairs])

    def scaled_tensor(self, parsed: tuple[Tensor, ...]) -> Tensor:
        pairs = zip(self.encoders, parsed, strict=True)
        return self.conditions.packed([encoder.scaled_tensor(one) for encoder, one in pairs])

    def for_step(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        pairs = zip(self.encoders, self.conditions.split(values), strict=True)
        return tuple(encoder.for_step(one) for encoder, one in pairs)

    def wrong_values(self, y: Nest | None) -> str:
        parts = y if isinstance(y, tuple | list) else ()
        pairs = zip(self.encoders, parts, strict=False)
        return next(filter(None, (encoder.wrong_values(one) for encoder, one in pairs)), "")

    def targets(self, y: Nest | None, count: int | Tensor) -> tuple[Tensor, Tensor]:
        nouns = ", ".join(part.noun for part in self.conditions.parts)
        if not isinstance(y, tuple | list) or len(y) != len(self.encoders):
            raise UserError(
                f"Invalid targets. Expected a tuple ({nouns}) of arrays for a model of "
                f"{self.conditions.description}. Received: {type(y).__name__}"
            )
        found = [encoder.targets(one, count) for encoder, one in zip(self.encoders, y, strict=True)]
        values = self.conditions.packed([values for values, _ in found])
        valid = found[0][1]
        for _, more in found[1:]:
            valid = valid & more
        return values, valid

    def call(self, values: Tensor) -> list[tuple[Tensor, ...]]:
        parts = [
            encoder(self.conditions.encode_once(index, one))
            for index, (encoder, one) in enumerate(
                zip(self.encoders, self.conditions.split(values), strict=True)
            )
        ]
        resolutions = range(max(map(len, parts)))
        return [tuple(part[min(index, len(part) - 1)] for part in parts) for index in resolutions]
