"""Base class of conditions that are numbers, with bounds by which they are scaled."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.layers.conditions.base import Conditions
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    plain,
    require_integer,
    require_no_mask,
)
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

# The extremes of random training values lie a little inside of the range that they are from.
_SLACK = 0.01
# Fewest numbers of a dtype within the bounds.
_MIN_STEPS = 256


class Numbers(Conditions):
    """Base class of conditions that are arrays of numbers, whose last axis has named components.

    Values are float64 on the host. There they are scaled, so that the bounds of each component
    become -1 and 1, and the result is cast to float32, which is what the network takes. Only the
    batches of streams and the inputs of a SavedModel are scaled in the graph, before they are cast.

    The bounds are weights of the encoder, NaN if they are not known. `learn` sets unknown ones. A
    `Numbers` object belongs to the encoder that it made last.

    There is no p(x): methods that compare classes are refused, and methods that score or sample
    need values for each image, or one value for all.

    Args:
        shape: Tuple of integers, the shape of one value. The last axis are the components.
        low: Number, or a sequence with one number for each component: the lower bounds. `None`
            takes the least values of the arrays given to `fit`.
        high: The upper bounds, likewise.
        names: Sequence of strings, the names of the components. The default is `h0`, `h1` and so
            on.

    Raises:
        ValueError: If an argument is out of range.
    """

    kind: str  # key of the class in `KINDS`, and what messages call several values
    noun: str  # what messages call one value
    dtype = "float64"
    num_candidates = 0
    is_constant = False

    def __init__(
        self,
        shape: tuple[int, ...],
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ):
        for size in shape:
            require_integer("size", size, high=100_000)
        self.shape = plain(tuple(shape))
        self.size = self.shape[-1]
        names = tuple(f"h{index}" for index in range(self.size)) if names is None else names
        self.names = checked_class_names(names, self.size, "names")
        self.description = f"{self.kind} ({', '.join(self.names)})"
        if (low is None) != (high is None):
            raise UserError("Expected both `low` and `high`, or none. Received: one of them")
        self._encoder: NumbersEncoder | None = None
        self._given = np.full((2, self.size), np.nan)
        if low is not None:
            self._given = self._checked_bounds(low, high)

    @abstractmethod
    def new_encoder(self, image_shape: Sequence[int]) -> "NumbersEncoder":
        """Returns a new layer that encodes scaled values for the strategies."""

    def encoder(self, image_shape: Sequence[int]) -> "NumbersEncoder":
        self._encoder = self.new_encoder(image_shape)
        return self._encoder

    @property
    def bounds(self) -> np.ndarray:
        """Lower and upper bounds, float64 `(2, size)`; NaN if they are not known."""
        return self._given if self._encoder is None else joined(self._encoder.bounds)

    @property
    def low(self) -> tuple[float, ...] | None:
        """Lower bounds of the components, or `None` if they are not known."""
        return plain(self.bounds[0]) if self.are_bounds_known else None

    @property
    def high(self) -> tuple[float, ...] | None:
        """Upper bounds of the components, or `None` if they are not known."""
        return plain(self.bounds[1]) if self.are_bounds_known else None

    @property
    def are_bounds_known(self) -> bool:
        """Whether the bounds were given or learned."""
        return not np.isnan(self.bounds).any()

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
        facts = {"kind": self.kind, "low": self.low, "high": self.high, "names": self.names}
        return {"conditions": facts}

    def spec(self, batch: int | None, candidates: int) -> keras.KerasTensor:
        return keras.KerasTensor((batch, candidates, *self.shape), "float32")

    def read(
        self, values: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        """Returns values as float64 `(count, *shape)`, or `(count, K, *shape)` if `several`.

        One value holds for all images. Columns that have names, as those of a DataFrame, are
        selected by name.
        """
        require_no_mask(values, "labels")
        is_label = np.ndim(values) == 0 and np.asarray(values).dtype.kind in "iu" and values == -1
        if values is None or is_label:
            raise self._missing()
        array = np.asarray(self._by_name(values))
        full = (count, *self.shape)
        if array.dtype.kind in "uif":
            array = self._with_all_axes(array, count)
            if array.shape == self.shape:
                array = np.broadcast_to(array, full)
        if several and array.ndim == len(full) + 1:
            full = (count, array.shape[1], *self.shape)
        if array.dtype.kind not in "uif" or array.shape != full:
            raise UserError(
                f"Invalid {self.kind}. Expected numbers of shape {(count, *self.shape)}, for "
                f"{self.description}. Received: dtype={array.dtype}, shape={array.shape}"
            )
        if not np.isfinite(array).all():
            raise UserError(
                f"Invalid {self.kind}. Expected finite numbers: an unknown condition is not "
                "supported. Received: NaN or infinity"
            )
        if self.are_bounds_known:
            self._require_resolution(self.bounds, array.dtype)
        elif array.size:
            self._require_resolution(self._extremes(array), array.dtype)
        return array.astype("float64")

    def _with_all_axes(self, array: np.ndarray, count: int) -> np.ndarray:
        """Returns an array with the axes that users may leave out."""
        return array

    def _by_name(self, values: Any) -> Any:
        """Selects the components of a table or its row, a dict or structured array by name."""
        if hasattr(values, "columns"):
            given = list(values.columns)
        elif isinstance(values, dict):
            given = list(values)
        elif hasattr(values, "iloc"):  # a row or column of a pandas.DataFrame
            given = list(values.index)
        else:
            given = list(getattr(getattr(values, "dtype", None), "names", None) or ())
        if not any(isinstance(name, str) for name in given):
            return values
        if len(set(given)) < len(given) or not set(self.names) <= set(given):
            raise UserError(
                f"Invalid {self.kind}. Expected columns named {', '.join(self.names)}. "
                f"Received: {', '.join(map(str, given))}"
            )
        return np.stack([np.asarray(values[name]) for name in self.names], axis=-1)

    def _extremes(self, array: np.ndarray) -> np.ndarray:
        flat = array.reshape(-1, self.size)
        return np.stack([flat.min(axis=0), flat.max(axis=0)]).astype("float64")

    def _require_resolution(self, bounds: np.ndarray, dtype: Any) -> None:
        """Raises a `UserError` if a dtype has few different numbers within the bounds."""
        if np.dtype(dtype).kind != "f":
            return
        steps = np.finfo(dtype).eps * np.abs(bounds).max(axis=0).astype("float64")
        width = bounds[1] - bounds[0]
        for index in np.flatnonzero((width > 0) & (width < _MIN_STEPS * steps)):
            low, high = bounds[:, index].tolist()
            raise UserError(
                f"{dtype} cannot resolve the range {low!r} to {high!r} of {self.names[index]}. "
                "Expected float64, or values from which an offset is subtracted"
            )

    def _checked_bounds(self, low: ArrayLike, high: ArrayLike) -> np.ndarray:
        try:
            bounds = [np.broadcast_to(np.asarray(one, "float64"), self.size) for one in (low, high)]
            good = np.less_equal(*bounds).all() and np.abs(bounds).max() < 1e37
        except (TypeError, ValueError):
            good = False
        if not good:
            expected = f"{self.size} finite numbers, not below low={low!r}, for {self.description}"
            raise invalid_argument("high", high, expected)
        self._require_resolution(np.stack(bounds), "float64")
        return np.stack(bounds)

    def candidates(self, count: int) -> np.ndarray:
        raise self._missing()

    def _missing(self) -> UserError:
        return UserError(
            f"A model conditioned on {self.description} has no p(x). Expected a {self.noun} for "
            "each image, or one for all. Received: none"
        )

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(-1, 1, (count, *self.shape)).astype("float32")

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Returns values as float32 in which the bounds are -1 and 1.

        Values outside of the bounds issue a warning.
        """
        self.require_bounds()
        self.note_outside(values)
        return self.in_unit(values, self.bounds, np).astype("float32")

    def in_unit(self, values: Any, bounds: Any, xp: Any) -> Any:
        """Scales values so that the bounds become -1 and 1, or 0 if they are equal.

        `xp` is `np` for arrays, and `keras.ops` for tensors.
        """
        half = (bounds[1] - bounds[0]) / 2
        middle = bounds[0] + half
        return (values - middle) / xp.where(half > 0, half, xp.ones_like(half))

    def slopes(self, values: np.ndarray) -> np.ndarray:
        """Returns the derivative of the scaled values with respect to the values, float64."""
        half = (self.bounds[1] - self.bounds[0]) / 2
        return np.broadcast_to(1 / np.where(half > 0, half, 1), values.shape)

    def note_outside(self, values: np.ndarray) -> None:
        """Issues a warning for values outside of the bounds, if these are known."""
        low, high = self.bounds
        flat, slack = values.reshape(-1, self.size), _SLACK * (high - low)
        outside = (flat < low - slack) | (flat > high + slack)
        for index in np.flatnonzero(outside.any(axis=0)):
            found = np.unique(flat[outside[:, index], index])
            shown = ", ".join(f"{value:.9g}" for value in found[:3])
            warnings.warn(
                f"Values of {self.names[index]} are outside of the range {low[index]:.9g} to "
                f"{high[index]:.9g} of the model, which extrapolates there: "
                f"{shown}{', …' if len(found) > 3 else ''}",
                stacklevel=5,
            )

    def learn(self, values: np.ndarray | None) -> None:
        if values is None:
            self.require_bounds()
        elif not self.are_bounds_known:
            bounds = self._checked_bounds(*self._extremes(values))
            for index in np.flatnonzero(bounds[0] == bounds[1]):
                warnings.warn(
                    f"{self.names[index]} is {bounds[0, index]:.9g} in all training {self.kind}, "
                    "so the model does not learn how images depend on it",
                    stacklevel=4,
                )
            self._encoder.bounds.assign(split(bounds))

    def require_bounds(self) -> None:
        """Raises a `UserError` if the bounds are not known."""
        if not self.are_bounds_known:
            raise UserError(
                f"The bounds of the {self.kind} are not known. Expected "
                f"{type(self).__name__}(low=…, high=…), or `fit` with arrays. Received: neither"
            )

    def for_step(self, values: np.ndarray | None) -> np.ndarray | None:
        # The axis of the candidates tells scaled values from those of a stream.
        return None if values is None else self.scaled(values)[:, None]

    def scaled_tensor(self, values: Tensor) -> Tensor:
        """Scales a tensor `(batch, *shape)` like `scaled`, in float64 if it is float64.

        Components whose range float32 cannot resolve become NaN if it is not.
        """
        parts, values = self._encoder.bounds, ops.convert_to_tensor(values)
        if keras.backend.standardize_dtype(values.dtype) == "float64":
            bounds = ops.sum(ops.cast(parts, "float64"), axis=0)
            return ops.cast(self.in_unit(values, bounds, ops), "float32")
        bounds, width = ops.sum(parts, axis=0), ops.sum(parts[:, 1] - parts[:, 0], axis=0)
        needed = _MIN_STEPS * np.finfo("float32").eps * ops.max(ops.abs(bounds), axis=0)
        is_resolved = (width == 0) | (width >= needed)
        values = ops.where(is_resolved, ops.cast(values, "float32"), np.float32(np.nan))
        return self.in_unit(values, bounds, ops)

    def targets(self, y: Any) -> tuple[Tensor, Tensor | None]:
        """Converts `y`, the result of `for_step` or the `(batch, *shape)` of a stream."""
        shape = getattr(y, "shape", ())
        if len(shape) == len(self.shape) + 2:
            return ops.cast(y, "float32"), None
        if tuple(shape[1:]) != self.shape:
            received = f"shape={tuple(shape)}" if hasattr(y, "shape") else f"y={type(y).__name__}"
            raise UserError(
                f"Invalid {self.kind}. Expected y of shape {('batch', *self.shape)} for "
                f"{self.description}. Received: {received}"
            )
        values = self.scaled_tensor(y)
        axes = tuple(range(1, len(shape)))
        valid = ops.all(ops.abs(values) <= 1 + 2 * _SLACK, axis=axes)  # false for NaN
        kept = ops.reshape(valid, (-1, *[1] * len(axes)))
        return ops.where(kept, values, ops.zeros_like(values))[:, None], valid


class NumbersEncoder(keras.layers.Layer):
    """Base class of the layers that encode scaled numbers, with the bounds as weights.

    Args:
        numbers: The conditions.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, numbers: Numbers, **kwargs: Any):
        # float32 under every policy, because neighboring values differ little.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.numbers = numbers
        self.bounds = self.add_state("bounds", split(numbers.bounds))

    def add_state(self, name: str, value: np.ndarray | np.generic) -> keras.Variable:
        """Creates a weight that no optimizer changes."""
        return self.add_weight(
            name=name,
            shape=value.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(value, dtype),
            trainable=False,
        )


def split(numbers: np.ndarray) -> np.ndarray:
    """Returns three float32 arrays whose sum is a float64 array, `(3, ...)`.

    JAX has no float64.
    """
    parts, rest = [], numbers
    for _ in range(3):
        parts.append(rest.astype("float32"))
        rest = rest - parts[-1]
    return np.stack(parts)


def joined(parts: keras.Variable) -> np.ndarray:
    """Returns the float64 array that `split` has split."""
    return parts.numpy().astype("float64").sum(axis=0)
