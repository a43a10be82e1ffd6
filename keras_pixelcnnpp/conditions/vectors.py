"""Real vectors as the conditions of a model."""

import warnings
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.conditions.numbers import Numbers, NumbersEncoder
from keras_pixelcnnpp.conditions.part import PLACES
from keras_pixelcnnpp.utils.backend import Shape, Tensor
from keras_pixelcnnpp.utils.checks import require_integer
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

# Width of the hidden layer that encodes a vector.
_HIDDEN = 32


class Vectors(Numbers):
    """Real vectors h, such as physical parameters, as the conditions of a model of p(x | h).

    A vector is scaled to [-1, 1] by its bounds and encoded by a small network, which all strategies
    share: a hidden layer of 32 units. A strategy's weights are linear in this code, where those of
    a label are entries of a table. There is no p(x): methods that score or sample need a vector for
    each image, or one for all.

    Args:
        size: Integer, number of components of a vector.
        low: Number, or a sequence with one number for each component: the lower bounds. `None`
            takes the least values of the arrays given to `fit`.
        high: The upper bounds, likewise.
        names: Sequence of `size` strings, the names of the components. The default is `h0`, `h1`
            and so on.
        scale: `"linear"` or `"log"`, or a sequence with one of them for each component. The
            logarithm of a `"log"` component is scaled by its bounds, which are positive.

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

    kind = "vectors"
    name = "vector"
    cure = 'Remove vectors that are no measurements, such as -9999, or use Vectors(scale="log")'
    in_data = "arrays vectors_… in an .npz file, or columns of a CSV file"
    places = PLACES
    tileable = True
    num_rows = 1 + _HIDDEN

    def __init__(
        self,
        size: int,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        scale: str | Sequence[str] = "linear",
    ):
        require_integer("size", size, high=1000)
        scales = (scale,) * size if isinstance(scale, str) else tuple(scale)
        if len(scales) != size or not {*scales} <= {"linear", "log"}:
            raise invalid_argument("scale", scale, f"'linear' or 'log', or {size} of them")
        self.scale = scales
        self.is_log = np.array(scales) == "log"
        if self.is_log.any():
            self.numbers = "finite numbers, positive for components whose scale is 'log'"
        super().__init__((size,), low, high, names)
        self.is_linear = ~self.is_log
        self.code_size = self.size

    def config(self) -> dict[str, Any]:
        return {"size": self.size, "scale": self.scale, **super().config()}

    def checked_bounds(self, low: ArrayLike, high: ArrayLike) -> np.ndarray:
        bounds = super().checked_bounds(low, high)
        self._require_positive(bounds[:1])
        return bounds

    def _require_positive(self, values: np.ndarray) -> None:
        """Raises a `UserError` for values of `"log"` components that have no logarithm."""
        flat = values.reshape(-1, self.size).astype("float64")  # integers have no infinity
        lowest = flat.min(axis=0, initial=np.inf)
        for index in np.flatnonzero(self.is_log & (lowest <= 0)):
            raise UserError(
                f"Invalid vectors. Expected positive values of {self.names[index]}, whose scale is "
                f"'log'. Received: {lowest[index]:.9g}"
            )

    def parse(
        self, given: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        array = super().parse(given, count, unknown, several)
        self._require_positive(array)
        return array

    def fit_in(self, values: Any, xp: Any) -> Any:
        return xp.isfinite(values) & xp.where(self.is_log, values > 0, True)

    def in_unit(self, values: Any, bounds: Any, xp: Any) -> Any:
        if self.is_log.any():
            values, bounds = (
                xp.where(self.is_log, xp.log(xp.where(self.is_log, x, 1.0)), x)
                for x in (values, bounds)
            )
        return super().in_unit(values, bounds, xp)

    def _with_all_axes(self, array: np.ndarray, count: int) -> np.ndarray:
        if self.size == 1 and array.shape in ((), (count,)):
            return array[..., None]
        return array

    def number_of(self, given: Any) -> int:
        if np.ndim(given) == 0 and not hasattr(given, "keys"):
            example = [[3.0] * self.size]
            raise UserError(
                f"Invalid vectors. Expected one vector for each image, such as {example}, for "
                f"{self.description}. Received: {given!r:.100}"
            )
        array = np.asarray(self._by_name(given))
        return len(array) if array.ndim >= 2 or (self.size == 1 and array.ndim == 1) else 1

    @classmethod
    def of_data(
        cls, values: np.ndarray, names: Sequence[str] = (), num_codes: int | None = None
    ) -> Self:
        return cls(values.shape[1], names=names or None)

    @classmethod
    def checked_array(
        cls, values: np.ndarray, count: int, name: str, num_codes: int | None = None
    ) -> np.ndarray:
        array = values[:, None] if values.ndim == 1 else values
        are_numbers = array.size and array.dtype.kind in "uif"
        if array.ndim != 2 or len(array) != count or not are_numbers:
            raise UserError(
                f"{name} must be numbers ({count}, size) or ({count},). "
                f"Received: {values.dtype} {values.shape}"
            )
        wrong = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(wrong):
            row, found = wrong[0], array[wrong[0]].tolist()
            raise UserError(f"{name}, row {row}: expected finite numbers. Received: {found}")
        return array if array.dtype.kind == "f" else array.astype("float64")

    def described(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {
            f"vectors' component {name}": values[:, index] for index, name in enumerate(self.names)
        }

    def encoder(self, image_shape: Sequence[int], name: str = "encoder") -> "VectorEncoder":
        return VectorEncoder(self, name=name)

    def look_up(self, table: Tensor, encoded: Tensor) -> Tensor:
        table = ops.convert_to_tensor(table)
        code = ops.cast(encoded[..., : self.num_rows], table.dtype)
        return ops.tensordot(code, table, 1)

    def code(self, encoded: Tensor, dtype: str) -> Tensor:
        """Returns the scaled vectors, `(..., size)`."""
        return ops.cast(encoded[..., self.num_rows :], dtype)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class VectorEncoder(NumbersEncoder):
    """Encodes scaled vectors: a constant 1, the hidden layer, and the vector.

    Its weights also contain the mean and covariance of the scaled training vectors, and the largest
    Mahalanobis distance among them; NaN if they are not known.

    Args:
        part: The part, a `Vectors`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Float tensor `(batch, candidates, size)`.

    Returns:
        List of one float32 tensor `(batch, candidates, 1, 1, 33 + size)`.
    """

    part: Vectors

    def __init__(self, part: Vectors, **kwargs: Any):
        super().__init__(part, **kwargs)
        size = part.size
        unknown = np.full((size, size), np.nan, "float32")
        self.mean = self.add_state("mean", unknown[0])
        self.covariance = self.add_state("covariance", unknown)
        self.farthest = self.add_state("farthest", unknown[0, 0])
        self.hidden = keras.layers.Dense(_HIDDEN, "tanh", dtype="float32", name="hidden")
        self.hidden.build((None, None, size))

    def call(self, values: Tensor) -> list[Tensor]:
        values = ops.cast(values, "float32")
        code = ops.concatenate([ops.ones_like(values[..., :1]), self.hidden(values), values], -1)
        return [code[:, :, None, None]]

    def compute_output_shape(self, values_shape: Shape) -> list[Shape]:
        return [(*values_shape[:-1], 1, 1, 1 + _HIDDEN + values_shape[-1])]

    def slopes(self, values: np.ndarray) -> np.ndarray:
        (low, high), is_log = self.bounds, self.part.is_log
        with np.errstate(divide="ignore", invalid="ignore"):  # of components that are not "log"
            ratio = np.where(high > low, (high - low) / np.log(high / low), 1) / values
        return super().slopes(values) * np.where(is_log, ratio, 1)

    def learn(self, parsed: np.ndarray | None) -> None:
        super().learn(parsed)
        if parsed is None or not np.isnan(self.farthest.numpy()):
            return
        scaled = self.part.in_unit(parsed.astype("float64"), self.bounds, np)
        self.note_narrow(parsed, or_near_an_end=True)
        size = self.part.size
        self.mean.assign(scaled.mean(axis=0))
        self.covariance.assign(np.cov(scaled.T, ddof=0).reshape(size, size))
        self.farthest.assign(self._distances(scaled).max())

    def _distances(self, scaled: np.ndarray) -> np.ndarray:
        """Returns Mahalanobis distances of scaled vectors `(N, size)` to the training vectors."""
        centered = scaled - self.mean.numpy()
        # Also where training vectors do not vary, a step has a finite length.
        covariance = self.covariance.numpy() + 1e-6 * np.eye(self.part.size)
        return np.sqrt(np.sum(centered * np.linalg.solve(covariance, centered.T).T, axis=1))

    def note_far(self, values: np.ndarray) -> None:
        if not np.isfinite(self.farthest.numpy()):
            return
        (low, high), vectors = self.bounds, self.part
        flat = values.reshape(-1, vectors.size)
        scaled = vectors.in_unit(flat, self.bounds, np)
        inside = ((low <= flat) & (flat <= high)).all(axis=1)
        far = inside & (self._distances(scaled) > 1.25 * self.farthest.numpy())
        if far.any():
            vector = ", ".join(f"{value:.9g}" for value in flat[far][0])
            warnings.warn(
                f"{far.sum()} vectors ({', '.join(vectors.names)}), such as ({vector}), are "
                "farther from the mean of the training vectors than each of these, in units of "
                "their covariance. The model extrapolates there, although each component is in its "
                "range",
                stacklevel=5,
            )
