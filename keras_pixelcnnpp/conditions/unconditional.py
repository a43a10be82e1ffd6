"""No condition."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions.base import ANY_CLASS, ConditionEncoder, Conditions
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import require_integer
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class Unconditional(Conditions):
    """The conditions of a model of p(x). The value of each image is 0, which nothing looks at.

    Example:

    >>> Unconditional().arguments()
    {'num_classes': 0}
    """

    kind = "none"
    noun = "label"
    description = "no condition"
    compressible = exportable = tileable = True

    def config(self) -> dict[str, Any]:
        return {}

    def arguments(self) -> dict[str, Any]:
        return {"num_classes": 0}

    def spec(self, batch: int | None, candidates: int) -> keras.KerasTensor:
        return keras.KerasTensor((batch, candidates), "int32")

    def parse(
        self, given: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        # -1 marks images without labels in data.
        is_none = given is None or np.array_equal(np.unique(np.asarray(given)), [ANY_CLASS])
        if not is_none or np.shape(given) not in ((), (count,)):
            raise invalid_argument("condition", given, "None, because the model is unconditional")
        return np.zeros(count, "int32")

    def number_of(self, given: Any) -> int:
        require_integer("condition", given)
        return int(given)

    @property
    def parts(self) -> tuple[Conditions, ...]:
        return ()

    def assembled(self, by_kind: dict[str, Any]) -> None:
        return None

    def served(self) -> dict[str, tuple[tuple[int, ...], str]]:
        return {"labels": ((), "int32")}

    def prepared(self, parsed: np.ndarray) -> np.ndarray:
        return np.full(len(parsed), ANY_CLASS, "int32")

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.zeros(count, "int32")

    def encoder(self, image_shape: Sequence[int], name: str = "encoder") -> ConditionEncoder:
        return NoEncoder(self, name=name)

    def look_up(self, table: Tensor, encoded: Any) -> Tensor:
        raise NotImplementedError("no strategy acts without a condition")


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class NoEncoder(ConditionEncoder):
    """Encodes nothing."""

    def call(self, values: Tensor) -> list[Tensor]:
        return []

    def scaled_tensor(self, parsed: Tensor) -> Tensor:
        return ops.zeros_like(ops.cast(parsed, "int32"))

    def for_step(self, values: np.ndarray) -> np.ndarray:
        # As in the batches of unlabeled images. Keras drops sample weights without labels.
        return np.full(len(values), ANY_CLASS, "int32")

    def targets(self, y: Tensor | None, count: int | Tensor) -> tuple[Tensor, Tensor]:
        nothing = ops.zeros((count,), "int32")
        if y is None:
            return nothing, nothing == 0
        if not keras.backend.is_int_dtype(keras.backend.standardize_dtype(y.dtype)):
            raise UserError(
                "An unconditional model takes images without labels. Expected y=None. "
                f"Received: y of dtype {y.dtype}"
            )
        return nothing, ops.reshape(ops.cast(y, "int32"), (-1,)) == ANY_CLASS
