"""Real vectors as the conditions of a model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.layers.conditions.numbers import Numbers, NumbersEncoder
from keras_pixelcnnpp.utils.backend import Shape, Tensor
from keras_pixelcnnpp.utils.checks import require_integer
from keras_pixelcnnpp.utils.errors import UserError

# Width of the hidden layer that encodes a vector.
_HIDDEN = 32


class Vectors(Numbers):
    """Real vectors h, such as physical parameters, as the conditions of a model of p(x | h).

    A vector is scaled to [-1, 1] by its bounds and encoded by a small network, which all strategies
    share: a hidden layer of 32 units. A strategy's weights are linear in this code, where those of
    a label are entries of a table. There is no p(x): methods that compare classes are refused, and
    methods that score or sample need a vector for each image, or one for all.

    Args:
        size: Integer, number of components of a vector.
        low: Number, or a sequence with one number for each component: the lower bounds. `None`
            takes the least values of the arrays given to `fit`.
        high: The upper bounds, likewise.
        names: Sequence of `size` strings, the names of the components. The default is `h0`, `h1`
            and so on.

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
    noun = "vector"
    num_rows = 1 + _HIDDEN

    def __init__(
        self,
        size: int,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ):
        require_integer("size", size, high=1000)
        super().__init__((size,), low, high, names)
        self.code_size = self.size

    def arguments(self) -> dict[str, Any]:
        return {"conditions": {**super().arguments()["conditions"], "size": self.size}}

    def _with_all_axes(self, array: np.ndarray, count: int) -> np.ndarray:
        if self.size == 1 and array.shape in ((), (count,)):
            return array[..., None]
        return array

    def number_of(self, values: Any) -> int:
        if np.ndim(values) == 0 and not hasattr(values, "keys"):
            example = [[3.0] * self.size]
            raise UserError(
                f"Invalid vectors. Expected one vector for each image, such as {example}, for "
                f"{self.description}. Received: {values!r:.100}"
            )
        array = np.asarray(self._by_name(values))
        return len(array) if array.ndim >= 2 or (self.size == 1 and array.ndim == 1) else 1

    def new_encoder(self) -> "VectorEncoder":
        return VectorEncoder(self, name="encoder")

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

    Args:
        vectors: The conditions.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Float tensor `(batch, candidates, size)`.

    Returns:
        List of one float32 tensor `(batch, candidates, 1, 1, 33 + size)`.
    """

    def __init__(self, vectors: Vectors, **kwargs: Any):
        super().__init__(vectors, **kwargs)
        self.hidden = keras.layers.Dense(_HIDDEN, "tanh", dtype="float32", name="hidden")
        self.hidden.build((None, None, vectors.size))
        self.built = True

    def call(self, values: Tensor) -> list[Tensor]:
        values = ops.cast(values, "float32")
        code = ops.concatenate([ops.ones_like(values[..., :1]), self.hidden(values), values], -1)
        return [code[:, :, None, None]]

    def compute_output_shape(self, values_shape: Shape) -> list[Shape]:
        return [(*values_shape[:-1], 1, 1, 1 + _HIDDEN + values_shape[-1])]
