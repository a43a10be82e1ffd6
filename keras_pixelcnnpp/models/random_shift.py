"""Random shifts, the "padded random crop" of small-image classifiers."""

import keras
from keras import ops

from keras_pixelcnnpp.arguments import require_rate


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class RandomShift(keras.layers.Layer):
    """Shifts each picture by its own random number of whole pixels, in training only.

    What comes into view repeats the border. This is a padded random crop; Keras's `RandomCrop`
    crops a whole batch alike, and its `RandomTranslation` can't be compiled.

    Args:
        rate: Float in [0, 1), the largest shift as a share of height and of width, rounded.
        seed: Integer or `None`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        images: Float `(batch, height, width, channels)`.
        training: Boolean; without training, the pictures are returned as they are.

    Returns:
        The same shape and dtype.

    Raises:
        ValueError: If `rate` is out of range.

    Example:

    ```python
    RandomShift(0.125)(images, training=True)      # 32×32: by up to 4 pixels each way
    ```
    """

    def __init__(self, rate=0.125, seed=None, **kwargs):
        super().__init__(**kwargs)
        require_rate("rate", rate)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        if not training or self.rate == 0:
            return images
        _, height, width, _ = images.shape
        # A shift is a matrix product with 0s and 1s: no gather, and exact.
        rows = self._shifts(images, height)
        columns = self._shifts(images, width)
        images = ops.einsum("bih,bhwc->biwc", rows, images)
        return ops.einsum("bjw,biwc->bijc", columns, images)

    def _shifts(self, images, size):
        """One-hot `(batch, size, size)`: which old position each new one shows."""
        largest = round(self.rate * size)
        shape = (ops.shape(images)[0], 1)
        shift = keras.random.randint(shape, -largest, largest + 1, seed=self.seed_generator)
        positions = ops.clip(ops.arange(size, dtype="int32") + shift, 0, size - 1)
        return ops.one_hot(positions, size, dtype=images.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
