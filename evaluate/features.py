"""What a trained baseline CNN sees in pictures, for distances between sets of them."""

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.array_batches import ArrayBatches
from keras_pixelcnnpp.feeding import feed
from keras_pixelcnnpp.input_checks import checked_images


class BaselineFeatures:
    """The penultimate features of a `BaselineCNN`: what its logits are made of.

    A Fréchet distance of them tells how pictures differ in what tells the classes apart. It is not
    the FID and compares with other pictures of the same data under the same classifier only.

    Args:
        model: A trained `BaselineCNN`.
        batch_size: Integer, pictures at a time.

    Example:

    ```python
    features = BaselineFeatures(keras.models.load_model("runs/digits/baseline.keras"))
    features(images)[features.dimensions]      # float64 [N, 64]
    ```
    """

    name = "baseline_cnn"
    title = "Fréchet classifier distance"

    def __init__(self, model, batch_size=128):
        self.model = model
        self.batch_size = batch_size
        self._runner = _Penultimate(model)

    @property
    def dimensions(self) -> int:
        """The number of features."""
        return int(self.model.filters[-1])

    def __call__(self, images: np.ndarray) -> dict[int, np.ndarray]:
        """The features of pictures.

        Args:
            images: uint8 levels `(N, height, width, channels)`.

        Returns:
            From the number of features to float64 `(N, dimensions)`; there is one entry.

        Raises:
            ValueError: If the pictures don't fit the classifier.
        """
        images = checked_images(images, self.model)
        count = len(images)
        if count == 0:
            return {self.dimensions: np.zeros((0, self.dimensions))}
        # Filled up with pictures: TensorFlow and JAX would compile again for a smaller last batch.
        filled = np.resize(
            images, (-(-count // self.batch_size) * self.batch_size, *images.shape[1:])
        )
        batches = feed(ArrayBatches({"image": filled}, self.batch_size))
        features = self._runner.predict(batches, verbose=0)[:count]
        return {self.dimensions: features.astype("float64")}


class _Penultimate(keras.Model):
    """A model, so that `predict` does batching and compiling under any backend."""

    def __init__(self, model):
        super().__init__(name="penultimate")
        self.model = model
        self.compile(jit_compile=getattr(model, "jit_compile", "auto"))
        self.built = True

    def call(self, inputs):
        return ops.cast(self.model.features(inputs["image"], training=False), "float32")
