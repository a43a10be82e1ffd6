"""Base class of the parts that are numbers, with bounds by which they are scaled."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.conditions.part import Part, PartEncoder
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    plain,
    require_integer,
    require_no_mask,
)
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

# The extremes of random training values lie a little inside of the range that they are from.
SLACK = 0.01
# Fewest numbers of a dtype within the bounds.
MIN_STEPS = 256
# Number of values of which quantiles are computed.
ENOUGH = 1_000_000


class Numbers(Part):
    """Base class of the parts that are arrays of numbers, whose last axis has named components.

    Values are scaled in float64 on the host, so that the bounds of each component become -1 and 1,
    and the result is cast to float32, which is what the network takes. Only the batches of streams
    and the inputs of a SavedModel are scaled in the graph, before they are cast.

    There is no p(x): methods that score or sample need values for each image, or one value for all.

    Args:
        shape: Tuple of integers, the shape of one value. The last axis are the components.
        low: Number, or a sequence with one number for each component: the lower bounds. `None`
            takes the least values of the arrays given to `fit`.
        high: The upper bounds, likewise.
        names: Sequence of strings, the names of the components. The default is `h0`, `h1` and so
            on.

    Attributes:
        numbers: String, the numbers that `fit_in` accepts, for messages.
        cure: String, what to do if a few values determine the bounds, for messages.
        is_linear: Boolean array `(size,)`, whether small values of a component are close to 0.
        bounds: Float64 array `(2, size)`, lower and upper bounds; NaN if they are not given. Those
            that `fit` has found are in `model.encoder.bounds`.

    Raises:
        ValueError: If an argument is out of range.
    """

    exportable = True
    numbers: str = "finite numbers"
    cure: str

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
        self.is_linear = np.ones(self.size, bool)
        names = tuple(f"h{index}" for index in range(self.size)) if names is None else names
        self.names = checked_class_names(names, self.size, "names")
        self.description = f"{self.kind} ({', '.join(self.names)})"
        if (low is None) != (high is None):
            raise UserError("Expected both `low` and `high`, or none. Received: one of them")
        self.bounds = np.full((2, self.size), np.nan)
        if low is not None:
            self.bounds = self.checked_bounds(low, high)

    @property
    def low(self) -> tuple[float, ...] | None:
        """Lower bounds of the components, or `None` if they are not given."""
        return None if np.isnan(self.bounds).any() else plain(self.bounds[0])

    @property
    def high(self) -> tuple[float, ...] | None:
        """Upper bounds of the components, or `None` if they are not given."""
        return None if np.isnan(self.bounds).any() else plain(self.bounds[1])

    def config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "names": self.names}

    def with_bounds(self, bounds: np.ndarray) -> Self:
        """Returns the same part with other bounds, float64 `(2, size)`."""
        return type(self)(**{**self.config(), "low": plain(bounds[0]), "high": plain(bounds[1])})

    def parse(
        self, given: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        """Returns values as an array `(count, *shape)`, or `(count, K, *shape)` if `several`.

        One value holds for all images. Columns that have names, as those of a DataFrame, are
        selected by name. The dtype is that of the given values.
        """
        require_no_mask(given, "condition")
        full = (count, *self.shape)
        if given is None:
            raise self._missing()
        given = self._by_name(given)
        try:
            array = np.asarray(given)
        except ValueError as error:  # such as a list of arrays of different shapes
            raise UserError(
                f"Invalid {self.kind}. Expected numbers of shape {full}, for {self.description}. "
                f"Received: {type(given).__name__} of different shapes"
            ) from error
        if array.dtype.kind in "uif":
            array = self._with_all_axes(array, count)
            if array.shape in (self.shape, (1, *self.shape)):
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
        return array

    def note_one_for_all(self, given: Any, count: int) -> None:
        if count > 1 and np.size(self._by_name(given)) == math.prod(self.shape):
            warnings.warn(
                f"One {self.name} was given for all {count:,} training images, so the model does "
                f"not learn how images depend on it. Give {count:,} {self.kind}, one for each",
                stacklevel=5,
            )

    def fit_in(self, values: Any, xp: Any) -> Any:
        """Returns which floats can be part of a value, whatever the bounds are, as booleans.

        `xp` is `np` for arrays, and `keras.ops` for tensors.
        """
        return xp.isfinite(values)

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

    def _missing(self) -> UserError:
        return UserError(
            f"A model conditioned on {self.description} has no p(x). Expected a {self.name} for "
            "each image, or one for all. Received: none"
        )

    def extremes(self, array: np.ndarray) -> np.ndarray:
        """Returns the least and largest values of each component, float64 `(2, size)`."""
        flat = array.reshape(-1, self.size)
        return np.stack([flat.min(axis=0), flat.max(axis=0)]).astype("float64")

    def require_resolution(self, bounds: np.ndarray, dtype: Any) -> None:
        """Raises a `UserError` if a dtype has few different numbers within the bounds."""
        if np.dtype(dtype).kind != "f":
            return
        steps = np.finfo(dtype).eps * np.abs(bounds).max(axis=0).astype("float64")
        width = bounds[1] - bounds[0]
        for index in np.flatnonzero((width > 0) & (width < MIN_STEPS * steps)):
            low, high = bounds[:, index].tolist()
            raise UserError(
                f"{dtype} cannot resolve the range {low!r} to {high!r} of {self.names[index]}. "
                "Expected float64, or values from which an offset is subtracted"
            )

    def checked_bounds(self, low: ArrayLike, high: ArrayLike) -> np.ndarray:
        """Returns bounds as a float64 array `(2, size)`, or raises a `UserError`."""
        try:
            bounds = [np.broadcast_to(np.asarray(one, "float64"), self.size) for one in (low, high)]
            good = np.less_equal(*bounds).all() and np.abs(bounds).max() < 1e37
        except (TypeError, ValueError):
            good = False
        if not good:
            expected = f"{self.size} finite numbers, not below low={low!r}, for {self.description}"
            raise invalid_argument("high", high, expected)
        self.require_resolution(np.stack(bounds), "float64")
        return np.stack(bounds)

    def served(self) -> tuple[tuple[int, ...], str]:
        return self.shape, "float64"

    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(-1, 1, (count, *self.shape)).astype("float32")

    def prepared(self, parsed: np.ndarray) -> np.ndarray:
        """Returns values as float64, if their dtype resolves the bounds.

        Values outside of the bounds, or on another scale, issue a warning.
        """
        self.require_resolution(self.bounds, parsed.dtype)
        values = parsed.astype("float64")
        self.note_outside(values)
        return values

    def note_outside(self, values: np.ndarray) -> None:
        """Issues a warning for values outside of the bounds, or on another scale."""
        self._note_scale(values)
        low, high = self.bounds
        flat, slack = values.reshape(-1, self.size), SLACK * (high - low)
        outside = (flat < low - slack) | (flat > high + slack)
        for index in np.flatnonzero(outside.any(axis=0)):
            found = np.unique(flat[outside[:, index], index])
            shown = ", ".join(f"{value:.9g}" for value in found[:3])
            warnings.warn(
                f"Values of {self.names[index]} are outside of the range {low[index]:.9g} to "
                f"{high[index]:.9g} of the model, which extrapolates there: "
                f"{shown}{', …' if len(found) > 3 else ''}",
                stacklevel=6,
            )

    def _note_scale(self, values: np.ndarray) -> None:
        """Issues a warning if all values are small compared with the bounds, and not all equal."""
        flat = values.reshape(-1, self.size)[:, self.is_linear]
        if not flat.size or np.ptp(flat, axis=0).max() == 0:
            return
        bounds = self.bounds[:, self.is_linear]
        if (np.abs(flat).max(axis=0) <= np.abs(bounds).max(axis=0) / 50).all():
            warnings.warn(
                f"All values of {', '.join(self.names)} are from {flat.min():.9g} to "
                f"{flat.max():.9g}, in a fiftieth of the range {bounds.min():.9g} to "
                f"{bounds.max():.9g} of the model. Give {self.kind} in the units of the training",
                stacklevel=7,
            )

    def in_unit(self, values: Any, bounds: Any, xp: Any) -> Any:
        """Scales values so that the bounds become -1 and 1, or 0 if they are equal.

        `xp` is `np` for arrays, and `keras.ops` for tensors.
        """
        half = (bounds[1] - bounds[0]) / 2
        middle = bounds[0] + half
        return (values - middle) / xp.where(half > 0, half, xp.ones_like(half))


class NumbersEncoder(PartEncoder):
    """Base class of the layers that encode scaled numbers, with the bounds as weights.

    The bounds are NaN if they are not known. `learn` sets unknown ones.

    Args:
        part: The part, a `Numbers`.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    part: Numbers

    def __init__(self, part: Numbers, **kwargs: Any):
        super().__init__(part, **kwargs)
        self._bounds = self.add_state("bounds", split(part.bounds))

    def add_state(self, name: str, value: np.ndarray | np.generic) -> keras.Variable:
        """Creates a weight that no optimizer changes."""
        return self.add_weight(
            name=name,
            shape=value.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(value, dtype),
            trainable=False,
        )

    @property
    def bounds(self) -> np.ndarray:
        """Lower and upper bounds, float64 `(2, size)`; NaN if they are not known."""
        return joined(self._bounds)

    @property
    def are_bounds_known(self) -> bool:
        """Whether the bounds were given or learned."""
        return not np.isnan(self.bounds).any()

    @property
    def learned(self) -> Numbers:
        """The part with the bounds of the encoder."""
        return self.part.with_bounds(self.bounds) if self.are_bounds_known else self.part

    def require_same_scale(self, trained: PartEncoder) -> None:
        numbers = self.part
        if not isinstance(trained, NumbersEncoder) or not trained.are_bounds_known:
            return
        if {*numbers.names} == {*trained.part.names} != numbers.names:
            expected = f"{', '.join(trained.part.names)}, the order of the weights"
            if numbers.names != trained.part.names:
                raise invalid_argument("names", numbers.names, expected)
        same = np.allclose(self.bounds, trained.bounds, rtol=1e-6, atol=0)
        if self.are_bounds_known and not same:
            low, high = (", ".join(f"{bound:.9g}" for bound in one) for one in trained.bounds)
            raise UserError(
                f"The weights are those of {numbers.kind} from low={low} to high={high}, by which "
                f"they scale {numbers.kind}. Expected these bounds, or none: leave out low and "
                f"high. Received: low={plain(numbers.low)}, high={plain(numbers.high)}"
            )

    def learn(self, parsed: np.ndarray | None) -> None:
        if parsed is None:
            self.require_bounds()
        elif not self.are_bounds_known:
            numbers = self.part
            bounds = numbers.checked_bounds(*numbers.extremes(parsed))
            numbers.require_resolution(bounds, parsed.dtype)
            for index in np.flatnonzero(bounds[0] == bounds[1]):
                warnings.warn(
                    f"{numbers.names[index]} is {bounds[0, index]:.9g} in all training "
                    f"{numbers.kind}, so the model does not learn how images depend on it",
                    stacklevel=4,
                )
            self._bounds.assign(split(bounds))

    def note_narrow(self, values: np.ndarray, or_near_an_end: bool = False) -> None:
        """Issues a warning for components most of whose values are in a small part of the range.

        With `or_near_an_end`, the median must not be near a bound either.
        """
        numbers, bounds = self.part, self.bounds
        flat = values.reshape(-1, numbers.size)
        flat = flat[:: 1 + len(flat) // ENOUGH]
        scaled = numbers.in_unit(flat.astype("float64"), bounds, np)
        low, middle, high = np.quantile(scaled, [0.05, 0.5, 0.95], axis=0)
        narrow = (high - low < 2 / 20) | (or_near_an_end & (np.abs(middle) > 1 - 2 / 20))
        # Nothing tells equal values apart, such as those of a dark background.
        for index in np.flatnonzero(narrow & (high > low)):
            shown = np.quantile(flat[:, index], [0.05, 0.5, 0.95])
            first, median, last = (f"{value:.9g}" for value in shown)
            warnings.warn(
                f"Most values of {numbers.names[index]} are in a small part of the range "
                f"{bounds[0, index]:.9g} to {bounds[1, index]:.9g}: the middle 90% from {first} to "
                f"{last}, with the median {median}. The model hardly tells them apart. "
                f"{numbers.cure}",
                stacklevel=5,
            )

    def require_bounds(self) -> None:
        """Raises a `UserError` if the bounds are not known."""
        if not self.are_bounds_known:
            raise UserError(
                f"The bounds of the {self.part.kind} are not known. Expected "
                f"{type(self.part).__name__}(low=…, high=…), or `fit` with arrays. "
                "Received: neither"
            )

    def scaled(self, parsed: np.ndarray) -> np.ndarray:
        """Returns values as float32 in which the bounds are -1 and 1."""
        self.require_bounds()
        values = self.learned.prepared(parsed)
        self.note_far(values)
        return self.part.in_unit(values, self.bounds, np).astype("float32")

    def note_far(self, values: np.ndarray) -> None:
        """Issues a warning for values within the bounds that are far from the training values."""
        return

    def slopes(self, values: np.ndarray) -> np.ndarray:
        """Returns the derivative of the scaled values with respect to the values, float64."""
        half = (self.bounds[1] - self.bounds[0]) / 2
        return np.broadcast_to(1 / np.where(half > 0, half, 1), values.shape)

    def scaled_tensor(self, parsed: Tensor) -> Tensor:
        """Scales a tensor `(batch, *shape)` like `scaled`, in float64 if it is float64.

        Components whose range float32 cannot resolve become NaN if it is not. So do numbers that no
        value has, such as fractions of codes.
        """
        parts, values = self._bounds, ops.convert_to_tensor(parsed)
        is_double = keras.backend.standardize_dtype(values.dtype) == "float64"
        values = values if is_double else ops.cast(values, "float32")
        values = ops.where(self.part.fit_in(values, ops), values, values * np.nan)
        if is_double:
            bounds = ops.sum(ops.cast(parts, "float64"), axis=0)
            return ops.cast(self.part.in_unit(values, bounds, ops), "float32")
        bounds, width = ops.sum(parts, axis=0), ops.sum(parts[:, 1] - parts[:, 0], axis=0)
        needed = MIN_STEPS * np.finfo("float32").eps * ops.max(ops.abs(bounds), axis=0)
        is_resolved = (width == 0) | (width >= needed)
        values = ops.where(is_resolved, values, np.float32(np.nan))
        return self.part.in_unit(values, bounds, ops)

    def wrong_values(self, y: Any) -> str:
        numbers = self.part
        if tuple(getattr(y, "shape", ()))[1:] != numbers.shape:
            return ""
        array = ops.convert_to_numpy(y)
        try:
            numbers.parse(array, len(array))
            numbers.require_resolution(self.bounds, array.dtype)
        except UserError as error:
            return str(error)
        values = array.reshape(-1, numbers.size).astype("float64")
        outside = np.abs(numbers.in_unit(values, self.bounds, np)) > 1 + 2 * SLACK
        for index in np.flatnonzero(outside.any(axis=0)):
            value, (low, high) = values[outside[:, index], index][0], self.bounds[:, index]
            return (
                f"A value of {numbers.names[index]} is outside of the bounds {low:.9g} to "
                f"{high:.9g} of the model: {value:.9g}. A stream cannot change them. Give "
                f"{type(numbers).__name__}(low=…, high=…) bounds that contain all training "
                f"{numbers.kind}, or leave this {numbers.name} out"
            )
        return ""

    def targets(self, y: Any, count: int | Tensor) -> tuple[Tensor, Tensor]:
        numbers, shape = self.part, getattr(y, "shape", ())
        if tuple(shape[1:]) != numbers.shape:
            received = f"shape={tuple(shape)}" if hasattr(y, "shape") else f"y={type(y).__name__}"
            raise UserError(
                f"Invalid {numbers.kind}. Expected y of shape {('batch', *numbers.shape)} for "
                f"{numbers.description}. Received: {received}"
            )
        values = self.scaled_tensor(y)
        axes = tuple(range(1, len(shape)))
        valid = ops.all(ops.abs(values) <= 1 + 2 * SLACK, axis=axes)  # false for NaN
        kept = ops.reshape(valid, (-1, *[1] * len(axes)))
        return ops.where(kept, values, ops.zeros_like(values)), valid


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
