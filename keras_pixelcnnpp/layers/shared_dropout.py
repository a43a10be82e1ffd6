"""Dropout whose mask the candidate labels of an image share."""

import keras
from keras import ops

from keras_pixelcnnpp.arguments import require_rate


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class SharedDropout(keras.layers.Layer):
    """Elementwise dropout with one mask for all candidate labels of an image.

    Independent masks would add a noise between the candidates that drowns the difference which
    the labels make.

    Args:
        rate: Float in [0, 1), the share of elements set to zero, rounded to a multiple of 1/256.
        seed: Optional integer.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape: `(batch, candidates, ...)`, floats; the output has the same.

    Raises:
        ValueError: If `rate` is not in [0, 1).

    Example:

    >>> SharedDropout(0.5)(keras.ops.ones((2, 4, 8, 8, 3)), training=True).shape
    (2, 4, 8, 8, 3)
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        require_rate("rate", rate)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._dropped_bytes = min(round(rate * 256), 255)

    def build(self, input_shape):
        pass

    def call(self, x, training=False):
        if not training or self._dropped_bytes == 0:
            return x
        kept = ops.cast(self._random_bytes(ops.shape(x)) >= self._dropped_bytes, x.dtype)
        return x * (kept * (256 / (256 - self._dropped_bytes)))

    def _random_bytes(self, shape):
        # A random byte decides as well as a random float does, and costs a quarter of it.
        words = keras.random.randint(
            (shape[0], 1, *shape[2:-1], -(-shape[-1] // 4)),
            -(2**31),
            2**31 - 1,
            dtype="int32",
            seed=self.seed_generator,
        )
        return ops.view(words, "uint8")[..., : shape[-1]]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update({"rate": self.rate, "seed": self.seed})
        return config
