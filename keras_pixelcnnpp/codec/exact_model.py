"""A model in fixed point for the codec, and its digest, which identifies it in files."""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions import LABEL
from keras_pixelcnnpp.distributions.tables import GRID_BITS, UNIT
from keras_pixelcnnpp.layers.convolutions import WeightNormalized
from keras_pixelcnnpp.layers.fixed_point import MAX_WEIGHT
from keras_pixelcnnpp.sampling.model import PixelModel
from keras_pixelcnnpp.utils.backend import inner_layers
from keras_pixelcnnpp.utils.checks import argument_defaults
from keras_pixelcnnpp.utils.errors import UserError


class ExactModel:
    """Fixed-point copy of an `AutoregressiveModel` with its current weights.

    Args:
        model: An `AutoregressiveModel`.

    Attributes:
        digest: SHA-256, in hexadecimal, of everything that determines the distribution of images.
        counts: Converts the parameters of a pixel to the distribution of a sub-pixel.

    Raises:
        UserError: If the network, the head or a conditioning strategy is not part of this package,
            or weights are too large for exact sums.
    """

    def __init__(self, model: PixelModel):
        self.network = model.network
        self.image_shape = model.image_shape
        self.num_levels = model.num_levels
        if not model.conditions.compressible:
            raise UserError(
                "Compression needs class labels or an unconditional model, because the encoding of "
                f"numbers is not exact. Received: a model of {model.conditions.description}"
            )
        self.num_labels = len(model.conditions.all_classes)
        self.widths = (*model.widths, model.distribution.num_parameters)
        self._kernels, self._variables, self._tables = {}, [], []
        for layer in inner_layers(model.network):
            _require_own(layer)
            if isinstance(layer, WeightNormalized) and layer.built:
                self._kernels[layer.path] = _kernel_and_bias(layer)
            elif getattr(layer, "has_tables", False):
                self._variables += layer.weights
                self._tables += [_rounded(weight) for weight in layer.weights]
        _require_own(model.distribution)
        head_tables = [_rounded(weight) for weight in model.distribution.weights]
        self.counts = model.distribution.counts(head_tables)

        found = _configuration(model)
        kinds = [type(part).__name__ for part in (model.network, model.distribution)]
        digest = hashlib.sha256(json.dumps([GRID_BITS, kinds, found], sort_keys=True).encode())
        kernels = [array for pair in self._kernels.values() for array in pair]
        for array in (*kernels, *self._tables, *head_tables):
            digest.update(f"{array.shape}".encode() + (array * UNIT).astype("<i4").tobytes())
        self.digest = digest.hexdigest()

    def inputs(self, labels: np.ndarray) -> dict:
        """Returns the inputs of a compiled function: labels `(batch,)` and weights."""
        values = {LABEL: labels[:, None]}
        return {"values": values, "kernels": self._kernels, "tables": self._tables}

    @contextlib.contextmanager
    def weights(self, inputs: dict) -> Iterator[None]:
        """Context manager in which layers use the tables in `inputs`."""
        with keras.StatelessScope(list(zip(self._variables, inputs["tables"], strict=True))):
            yield


def _configuration(model: PixelModel) -> dict[str, Any]:
    """Returns the arguments of a model that the shapes of its weights don't determine."""
    found = {"image_shape": model.image_shape, "num_classes": model.num_classes}
    defaults = argument_defaults(type(model))
    found |= {
        name: value
        for name, value in model.arguments_of_network().items()
        # A new argument of the network is omitted at its default, so that old files stay readable.
        if name in _ALWAYS or (name not in _IN_SHAPES and value != defaults[name])
    }
    return {"conditioned_blocks": None, **found}


# Arguments that have always been part of the digest, and those that the shapes determine.
_ALWAYS = ("num_levels", "conditioning", "conditioned_blocks")
_IN_SHAPES = ("filters", "num_blocks", "num_resolutions", "num_mixtures", "head")


def _require_own(part: object) -> None:
    """Raises a `UserError` if a layer's class is not part of this package."""
    kind = type(part)
    if kind.__module__.partition(".")[0] != "keras_pixelcnnpp":
        raise UserError(
            "Compression needs a model that can be computed exactly. Expected: networks, heads "
            f"and conditioning strategies of keras_pixelcnnpp. Received: {kind.__name__}"
        )


def _rounded(variable: keras.Variable) -> np.ndarray:
    """Rounds a weight to the grid, whose values float32 represents exactly."""
    values = np.rint(ops.convert_to_numpy(variable).astype("float64") * UNIT) / UNIT
    _require_exact(variable.path, np.abs(values).max() * max(values.shape[1:]))
    return values.astype("float32")


def _kernel_and_bias(layer: WeightNormalized) -> tuple[np.ndarray, np.ndarray]:
    """Computes kernel and bias, float64, identically on every machine."""
    direction, gain, bias = (
        ops.convert_to_numpy(weight).astype("float64")
        for weight in (layer.direction, layer.gain, layer.bias)
    )
    direction = direction * layer.connections
    columns = (direction**2).reshape(-1, direction.shape[-1]).T.tolist()
    # `fsum` rounds once. The order of NumPy's summation depends on the processor.
    norms = np.sqrt([math.fsum(column) for column in columns])
    with np.errstate(all="ignore"):  # NaN is rejected below
        kernel = np.rint(direction * (gain / norms) * UNIT) / UNIT
    bias = np.rint(bias * UNIT) / UNIT
    _require_exact(layer.path, np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 1))) + abs(bias))
    return kernel, bias


def _require_exact(name: str, sums: np.ndarray) -> None:
    if not np.all(sums < MAX_WEIGHT):
        raise UserError(
            "Compression needs a model that can be computed exactly. Expected: a sum of the "
            f"absolute weights of each output below {MAX_WEIGHT}. Received: "
            f"{np.max(sums)} in {name}"
        )
