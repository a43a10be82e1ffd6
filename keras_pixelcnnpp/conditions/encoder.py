"""The layer that encodes the values of a model's conditions."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.conditions.classes import ANY_CLASS, LABEL
from keras_pixelcnnpp.conditions.conditions import Conditions
from keras_pixelcnnpp.conditions.part import PartEncoder
from keras_pixelcnnpp.conditions.values import Values
from keras_pixelcnnpp.utils.backend import Nest, Tensor
from keras_pixelcnnpp.utils.errors import UserError

#: The key of values in the `y` of a step that are scaled already. A stream has none.
SCALED = "scaled"


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class ConditionEncoder(keras.layers.Layer):
    """Encodes the values of each part for the strategies.

    `encoder["vector"]` is the encoder of a part. Values that all candidates of an image share are
    encoded once.

    Args:
        conditions: The conditions.
        image_shape: Triple of integers, the shape of an image.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Dict of tensors `(batch, candidates, ...)`, those of each part by its name.

    Returns:
        A list with the encoded values at each resolution, of which the last also holds for lower
        ones: tuples with a tensor `(batch, candidates, height, width, ...)` for each part. Height
        and width are 1 if the values are the same everywhere. It is empty without parts.
    """

    def __init__(self, conditions: Conditions, image_shape: Sequence[int], **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.conditions = conditions
        self.encoders = [part.encoder(image_shape, part.kind) for part in conditions]
        self.built = True

    def __getitem__(self, name: str) -> PartEncoder:
        return dict(self.items())[name]

    def items(self) -> Iterator[tuple[str, PartEncoder]]:
        """Yields the name and the encoder of each part."""
        return zip((part.name for part in self.conditions), self.encoders, strict=True)

    @property
    def learned(self) -> Conditions:
        """The conditions with what the encoders have learned from training data."""
        return Conditions([encoder.learned for encoder in self.encoders])

    def require_same_scale(self, trained: "ConditionEncoder") -> None:
        """Raises a `UserError` if the weights of a trained encoder scale values in another way."""
        of_trained = dict(trained.items())
        for name, encoder in self.items():
            if name in of_trained:
                encoder.require_same_scale(of_trained[name])

    def learn(self, parsed: Values | None) -> None:
        """Sets what the encoders learn from the training data, if it is not known yet.

        Args:
            parsed: The result of `Conditions.parse`; `None` for batches of a stream.

        Raises:
            ValueError: If something is not known that cannot be learned from a stream.
        """
        for name, encoder in self.items():
            encoder.learn(None if parsed is None else parsed[name])

    def scaled(self, parsed: Values) -> Values:
        """Returns the result of `Conditions.parse`, or a part of it, as the network takes it.

        Values at which the model extrapolates issue a warning.
        """
        scaled = {name: one.scaled(parsed[name]) for name, one in self.items() if name in parsed}
        return {**parsed, **scaled}

    def scaled_tensor(self, given: Nest) -> Values:
        """Returns tensors as the network takes them, like `scaled` for arrays."""
        by_name = self.conditions.by_name(given)
        return {name: encoder.scaled_tensor(by_name[name]) for name, encoder in self.items()}

    def for_step(self, values: Values) -> Nest:
        """Returns the result of `scaled` as the `y` of a step.

        Labels alone, which nothing scales, stay the array of which Keras takes class weights.
        """
        return values[LABEL] if self._has_only_labels else {SCALED: values}

    @property
    def _has_only_labels(self) -> bool:
        return [name for name, _ in self.items()] == [LABEL]

    def wrong_values(self, y: Nest | None) -> str:
        """Returns what is wrong with the `y` of a batch of a stream; empty if not known."""
        if not self.encoders:
            unlabeled = y is None or (ops.convert_to_numpy(y) == ANY_CLASS).all()
            return "" if unlabeled else "The model is unconditional. Expected images without labels"
        try:
            given = self._of_stream(y)
        except UserError:
            return ""
        found = (encoder.wrong_values(given[name]) for name, encoder in self.items())
        return next(filter(None, found), "")

    def targets(self, y: Nest | None, count: int | Tensor) -> tuple[Values, Tensor]:
        """Converts the `y` of a step, the result of `for_step` or a batch of a stream, to values.

        Returns:
            The values `(batch, ...)`, and which ones are valid, bool `(batch,)`. Those that are not
            valid are replaced by valid ones.

        Raises:
            ValueError: If values are missing, or have another shape or dtype.
        """
        if isinstance(y, dict) and {*y} == {SCALED}:
            return y[SCALED], ops.ones((count,), "bool")
        if not self.encoders:
            return {LABEL: ops.zeros((count,), "int32")}, _are_unlabeled(y, count)
        given, values, valid = self._of_stream(y), {}, None
        for name, encoder in self.items():
            values[name], is_valid = encoder.targets(given[name], count)
            valid = is_valid if valid is None else valid & is_valid
        if LABEL not in values:
            values[LABEL] = ops.zeros((count,), "int32")
        return values, valid

    def _of_stream(self, y: Nest | None) -> dict[str, Any]:
        """Returns the `y` of each part by its name."""
        return self.conditions.by_name(tuple(y) if isinstance(y, list) else y)

    def call(self, values: Values) -> list[tuple[Tensor, ...]]:
        parts = [encoder(values[name]) for name, encoder in self.items()]
        resolutions = range(max(map(len, parts), default=0))
        return [tuple(part[min(index, len(part) - 1)] for part in parts) for index in resolutions]


def _are_unlabeled(y: Tensor | None, count: int | Tensor) -> Tensor:
    """Returns which images of a stream for an unconditional model have no label, `(batch,)`."""
    if y is None:
        return ops.ones((count,), "bool")
    if not keras.backend.is_int_dtype(keras.backend.standardize_dtype(y.dtype)):
        raise UserError(
            "An unconditional model takes images without labels. Expected y=None. "
            f"Received: y of dtype {y.dtype}"
        )
    return ops.reshape(ops.cast(y, "int32"), (-1,)) == ANY_CLASS
