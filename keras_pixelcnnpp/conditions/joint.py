"""Several conditions at once."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions.base import (
    ConditionEncoder,
    Conditions,
)
from keras_pixelcnnpp.conditions.values import num_candidates
from keras_pixelcnnpp.utils.backend import Nest, Tensor
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class Joint(Conditions):
    """Conditions of several parts: a label, a vector, and a map, or two of them.

    To users, they are a list of parts. They give the values as a tuple in the order of the parts,
    or as a dict by the names of the parts. A label of -1 or `None` is not known, and p(x | map) is
    then the mean of p(x | label, map) over equally likely classes. If only the label is missing and
    there is one other part, its values need no tuple.

    A conditioning strategy has the weights of all parts, and adds up their entries. Without a
    label, the other parts are encoded once for an image, and not once for each class.

    Args:
        *parts: Two or more parts of different kinds, such as `Labels(10)`, `Vectors(2)`, and
            `Maps((14, 14, 1))`.

    Raises:
        ValueError: If there are fewer than two parts, or two of one kind.

    Example:

    ```python
    conditions = [kp.Labels(10), kp.Maps.of_images((14, 14, 1))]
    model = kp.PixelCNNPlusPlus((28, 28, 1), conditions=conditions)
    model.compile("adam")
    model.fit(images, (labels, coarse))            # int (N,), uint8 (N, 14, 14, 1)
    model.fit(images, {"map": coarse, "label": labels})
    model.sample((3, coarse[:10]), seed=0)         # ten images of class 3
    model.log_prob(images, coarse)                 # log p(x | map), the mean over the classes
    model.class_probabilities(images, coarse)      # p(y | x, map), (N, 10)
    ```
    """

    noun = "condition"
    exportable = True
    tileable = True

    def __init__(self, *parts: Conditions):
        kinds = [part.kind for part in parts]
        if len({*kinds}) < len(kinds):
            raise invalid_argument("conditions", kinds, "one part of each kind")
        if not all(part.parts for part in parts):
            raise invalid_argument("conditions", kinds, "parts, such as Labels, Vectors, and Maps")
        self._parts, self.kind = parts, "conditions"
        self.description = " and ".join(part.description for part in parts)
        self.names = tuple(itertools.chain(*(part.names for part in parts)))
        self.needs_values = any(part.needs_values for part in parts)
        self.num_rows = sum(part.num_rows for part in parts)
        self.code_size = sum(part.code_size for part in parts)
        places = set.intersection(*({*part.places} for part in parts))
        self.places = tuple(place for place in parts[0].places if place in places)
        blocks = {part.conditioned_blocks for part in parts}
        self.conditioned_blocks = "all" if "all" in blocks else parts[0].conditioned_blocks
        labels = [part for part in parts if part.num_classes]
        self._labels = labels[0] if labels else None
        if self._labels is not None:
            self.num_classes, self.class_names = labels[0].num_classes, labels[0].class_names

    @property
    def parts(self) -> tuple[Conditions, ...]:
        return self._parts

    def config(self) -> dict[str, Any]:
        return {"parts": [{"kind": part.kind, **part.config()} for part in self.parts]}

    def arguments(self) -> dict[str, Any]:
        return {"conditions": self.config()["parts"]}

    # --- values -------------------------------------------------------------------------------

    def spec(self, batch: int | None, candidates: int) -> dict[str, keras.KerasTensor]:
        shared = 1 if self._labels is not None else candidates
        return {
            part.noun: part.spec(batch, candidates if part is self._labels else shared)
            for part in self.parts
        }

    def parse(
        self, given: Any, count: int, unknown: bool = True, several: bool = False
    ) -> dict[str, np.ndarray]:
        """Returns a dict with the values of each part."""
        pairs = zip(self.parts, self._given_parts(given), strict=True)
        return {part.noun: part.parse(one, count, unknown, several) for part, one in pairs}

    def _given_parts(self, given: Any) -> tuple[Any, ...]:
        """Returns what a user gave for each part, `None` for nothing."""
        if given is None:
            return (None,) * len(self.parts)
        if isinstance(given, tuple) and len(given) == len(self.parts):
            return given
        by_name = isinstance(given, dict) and {*given} <= {part.noun for part in self.parts}
        if by_name:
            return tuple(given.get(part.noun) for part in self.parts)
        if len(self.parts) == 2 and self._labels is not None and not isinstance(given, tuple):
            return (None, given) if self.parts[0] is self._labels else (given, None)
        nouns = ", ".join(part.noun for part in self.parts)
        received = f"a tuple of {len(given)}" if isinstance(given, tuple) else type(given).__name__
        raise UserError(
            f"Invalid value for argument `condition`. Expected a tuple ({nouns}), or a dict with "
            f"these keys, for a model of {self.description}. Received: {received}"
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

    def from_served(self, inputs: Sequence[Tensor]) -> Nest:
        return dict(zip((part.noun for part in self.parts), inputs, strict=True))

    def prepared(self, parsed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {part.noun: part.prepared(parsed[part.noun]) for part in self.parts}

    def example(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        return {part.noun: part.example(rng, count) for part in self.parts}

    def have_candidates(self, values: Nest) -> bool:
        return any(part.have_candidates(values[part.noun]) for part in self.parts)

    def candidates_of(self, values: Nest) -> Nest:
        return {part.noun: part.candidates_of(values[part.noun]) for part in self.parts}

    # --- frames -------------------------------------------------------------------------------

    def pixel_size(self, image_shape: Sequence[int]) -> tuple[int, int]:
        sizes = [part.pixel_size(image_shape) for part in self.parts]
        return max(rows for rows, _ in sizes), max(columns for _, columns in sizes)

    def of_frame(self, size: Sequence[int], image_shape: Sequence[int]) -> "Joint":
        return Joint(*(part.of_frame(size, image_shape) for part in self.parts))

    def in_window(self, values: Nest, rows: slice, columns: slice) -> Nest:
        return {part.noun: part.in_window(values[part.noun], rows, columns) for part in self.parts}

    # --- classes ------------------------------------------------------------------------------

    def class_of(self, values: Any) -> Any:
        if self._labels is None:
            return super().class_of(values)
        return values[self._labels.noun]

    def with_class(self, values: Any, classes: Any) -> Any:
        candidates = self.candidates_of(values)
        if self._labels is None:
            return candidates
        label, given = self._labels.noun, num_candidates(candidates)
        classes = self._labels.with_class(self.class_of(values), classes)
        if given > 1:  # each candidate has each class
            count, xp = classes.shape[1], np if isinstance(classes, np.ndarray) else ops
            classes = xp.tile(classes, (1, given))
            candidates = {
                name: one if one.shape[1] == 1 else xp.repeat(one, count, axis=1)
                for name, one in candidates.items()
            }
        return {**candidates, label: classes}

    # --- weights ------------------------------------------------------------------------------

    def encoder(self, image_shape: Sequence[int], name: str = "encoder") -> "JointEncoder":
        return JointEncoder(self, image_shape, name=name)

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

    A part with one value for all candidates of an image is encoded once.

    Args:
        conditions: The conditions, a `Joint`.
        image_shape: Triple of integers, the shape of an image.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Dict of tensors `(batch, candidates, ...)`, those of each part by its name.
    """

    conditions: Joint

    def __init__(self, conditions: Joint, image_shape: Sequence[int], **kwargs: Any):
        super().__init__(conditions, **kwargs)
        self.encoders = [part.encoder(image_shape, part.kind) for part in conditions.parts]

    @property
    def learned(self) -> Joint:
        return Joint(*(encoder.learned for encoder in self.encoders))

    def _by_part(self) -> Iterator[tuple[str, ConditionEncoder]]:
        """Yields the name and the encoder of each part."""
        return zip([part.noun for part in self.conditions.parts], self.encoders, strict=True)

    def of_part(self, name: str) -> ConditionEncoder:
        return dict(self._by_part())[name]

    def require_same_scale(self, trained: ConditionEncoder) -> None:
        for name, encoder in self._by_part():
            if name in [part.noun for part in trained.conditions.parts]:
                encoder.require_same_scale(trained.of_part(name))

    def learn(self, parsed: Nest | None) -> None:
        for name, encoder in self._by_part():
            encoder.learn(None if parsed is None else parsed[name])

    def scaled(self, parsed: Nest) -> Nest:
        return {name: encoder.scaled(parsed[name]) for name, encoder in self._by_part()}

    def scaled_tensor(self, parsed: Nest) -> Nest:
        return {name: encoder.scaled_tensor(parsed[name]) for name, encoder in self._by_part()}

    def for_step(self, values: Nest) -> Nest:
        return {name: encoder.for_step(values[name]) for name, encoder in self._by_part()}

    def wrong_values(self, y: Nest | None) -> str:
        try:
            given = self._targets_of(y)
        except UserError:
            return ""
        found = (encoder.wrong_values(given[name]) for name, encoder in self._by_part())
        return next(filter(None, found), "")

    def targets(self, y: Nest | None, count: int | Tensor) -> tuple[Nest, Tensor]:
        given = self._targets_of(y)
        found = {name: one.targets(given[name], count) for name, one in self._by_part()}
        valid = [is_valid for _, is_valid in found.values()]
        for more in valid[1:]:
            valid[0] = valid[0] & more
        return {name: values for name, (values, _) in found.items()}, valid[0]

    def _targets_of(self, y: Nest | None) -> dict[str, Any]:
        """Returns the `y` of each part, from a tuple in the order of the parts, or a dict."""
        names = [name for name, _ in self._by_part()]
        if isinstance(y, tuple | list) and len(y) == len(names):
            return dict(zip(names, y, strict=True))
        if isinstance(y, dict) and {*y} == {*names}:
            return y
        raise UserError(
            f"Invalid targets. Expected a tuple ({', '.join(names)}) of arrays, or a dict with "
            f"these keys, for a model of {self.conditions.description}. "
            f"Received: {type(y).__name__}"
        )

    def call(self, values: dict[str, Tensor]) -> list[tuple[Tensor, ...]]:
        parts = [encoder(values[name]) for name, encoder in self._by_part()]
        resolutions = range(max(map(len, parts)))
        return [tuple(part[min(index, len(part) - 1)] for part in parts) for index in resolutions]
