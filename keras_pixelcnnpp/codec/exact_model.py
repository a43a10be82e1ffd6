"""A model in fixed point, as the codec computes it, and the number by which files name it."""

import contextlib
import hashlib
import json
from collections.abc import Iterator

import numpy as np

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.codec.counts import counts_of
from keras_pixelcnnpp.layers.fixed_point import (
    GRID_BITS,
    FixedPointWeights,
    require_own,
    rounded_weights,
)

# Of the configuration, what the shapes of the weights don't tell.
_CONFIGURATION = ("image_shape", "num_classes", "num_levels", "conditioning", "conditioned_blocks")


class ExactModel:
    """What decides which bits an `AutoregressiveModel` gives to images, with its weights of now.

    Args:
        model: An `AutoregressiveModel`.

    Attributes:
        digest: SHA-256, in hexadecimal, of all that the distribution of an image depends on.
        counts: The distribution of a sub-pixel, from a network's parameters.

    Raises:
        UserError: If network, head or a conditioning strategy is none of this package, or weights
            are so large that sums would not be exact.
    """

    def __init__(self, model):
        self.network = model.network
        self.image_shape = model.image_shape
        self.num_levels = model.num_levels
        self.num_labels = max(1, model.num_classes)
        self.widest = max(*model.widths, model.distribution.num_parameters)
        self._knows_labels = model.num_classes > 0
        self._weights = FixedPointWeights(model.network)
        head = model.distribution
        require_own(head)
        tables = [rounded_weights(weight) for weight in head.weights]
        self.counts = counts_of(head, tables)
        self.digest = self._digest(model, tables)

    def _digest(self, model, head_tables):
        found = {name: getattr(model, name, None) for name in _CONFIGURATION}
        kinds = [type(part).__name__ for part in (model.network, model.distribution)]
        digest = hashlib.sha256(json.dumps([GRID_BITS, kinds, found], sort_keys=True).encode())
        kernels = [array for pair in self._weights.kernels.values() for array in pair]
        for array in (*kernels, *self._weights.tables, *head_tables):
            digest.update(f"{array.shape}".encode())
            digest.update((array * 2**GRID_BITS).astype("<i4").tobytes())
        return digest.hexdigest()

    def inputs(self, labels: np.ndarray) -> dict:
        """The inputs of a compiled function: labels `(batch,)`, and the weights."""
        return {"labels": labels, "weights": self._weights.arrays()}

    def labels(self, inputs: dict) -> Tensor | None:
        """The network's labels `(batch, 1)` from the inputs of a compiled function."""
        return inputs["labels"][:, None] if self._knows_labels else None

    @contextlib.contextmanager
    def weights(self, inputs: dict) -> Iterator[None]:
        """A context in which layers use the weights of such inputs."""
        kernels, tables = self._weights.applied(inputs["weights"])
        with kernels, tables:
            yield
