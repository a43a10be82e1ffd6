"""Generation and completion of many pictures: checks, batches, and the sampler."""

import keras
import numpy as np

from keras_pixelcnnpp.arguments import (
    require_nonnegative_number,
    require_positive_integer,
    require_positive_number,
)
from keras_pixelcnnpp.feeding import feed
from keras_pixelcnnpp.sampling.noise_sequence import NoiseSequence
from keras_pixelcnnpp.sampling.pixel_sampler import PixelSampler

XLA_PAYS_FROM = 1000  # pictures


class Generation:
    """Runs a model's sampler over any number of pictures.

    Keeps the compiled samplers, so that a second call doesn't compile again.

    Args:
        model: A `PixelCNNPlusPlus`.
    """

    def __init__(self, model):
        self.model = model
        self._samplers = {}

    def run(self, inputs, count, seed, temperature, guidance, batch_size, verbose):
        """Draws `count` pictures.

        Args:
            inputs: Dict of arrays of length `count`, as `PixelSampler` takes them: `"label"` for
                generation; `"image"` and `"known"` too for completion.
            count: Integer.
            seed: See `PixelCNNPlusPlus.sample`, and so for the others.
            temperature: Number > 0.
            guidance: Number >= 0.
            batch_size: Integer.
            verbose: 0, 1 or `"auto"`.

        Returns:
            uint8 levels `(count, height, width, channels)`.
        """
        self._check(seed, temperature, guidance, batch_size)
        if count == 0:
            return np.zeros((0, *self.model.image_shape), "uint8")
        guided = guidance != 0
        inputs["temperature"] = np.full(count, temperature, "float32")
        if guided:
            inputs["guidance"] = np.full(count, guidance, "float32")
        height, width, channels = self.model.image_shape
        noise_shape = (height, width, self.model.num_mixtures + channels)
        batches = NoiseSequence(inputs, count, noise_shape, int(seed), min(batch_size, count))
        if verbose == "auto":
            verbose = int(len(batches) > 1)
        jit_compile = _jit_compile(count)
        key = (guided, "image" in inputs, jit_compile)
        if key not in self._samplers:
            self._samplers[key] = PixelSampler(self.model, guided)
            self._samplers[key].compile(jit_compile=jit_compile)
        return self._samplers[key].predict(feed(batches), verbose=verbose)[:count]

    def _check(self, seed, temperature, guidance, batch_size):
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(
                "Invalid value for argument `seed`. Expected an integer of at least 0. "
                f"Received: seed={seed!r}"
            )
        require_positive_number("temperature", temperature)
        require_nonnegative_number("guidance", guidance)
        require_positive_integer("batch_size", batch_size)
        if guidance and self.model.num_classes == 0:
            raise ValueError("Guidance needs a model with classes. Received: num_classes=0")
        if guidance and self.model.label_dropout_rate == 0:
            raise ValueError(
                "Guidance needs a model trained with label dropout. Received: label_dropout_rate=0"
            )


def _jit_compile(count):
    """Whether to compile with XLA: always under JAX, never under torch, else for large jobs.

    TensorFlow's own executor takes twice as long per batch, but XLA takes longer to compile than
    a few hundred pictures take to draw.
    """
    return {"jax": True, "torch": False}.get(keras.backend.backend(), count >= XLA_PAYS_FROM)


def known_pixels(known_rows, count, image_shape):
    """Number of known pixels of each picture, from rows or a mask.

    Args:
        known_rows: Integer from 0 to the height, or a boolean mask `(height, width)` or `(count,
            height, width)` whose known pixels come before all others in raster order.
        count: Integer, number of pictures.
        image_shape: Triple `(height, width, channels)`.

    Returns:
        int32 array `(count,)`.

    Raises:
        ValueError: If the mask isn't such a prefix or has another shape.
    """
    height, width, _ = image_shape
    array = np.asarray(known_rows)
    if array.ndim == 0 and array.dtype.kind in "ui" and 0 <= array <= height:
        return np.full(count, int(array) * width, "int32")
    if array.dtype != bool or array.shape not in ((height, width), (count, height, width)):
        raise ValueError(
            f"Invalid value for argument `known_rows`. Expected an integer from 0 to {height}, or "
            f"a boolean mask of shape {(height, width)} or {(count, height, width)}. "
            f"Received: dtype={array.dtype}, shape={array.shape}"
            + (f", value={array}" if array.ndim == 0 else "")
        )
    flat = np.broadcast_to(array, (count, height, width)).reshape(count, -1)
    if np.any(flat[:, 1:] & ~flat[:, :-1]):
        raise ValueError(
            "Invalid value for argument `known_rows`. Expected a mask whose known pixels come "
            "before all others in raster order. Received a mask with an unknown pixel before a "
            "known one"
        )
    return flat.sum(axis=1).astype("int32")
