"""The dedicated CNN as a scikit-learn classifier."""

import numpy as np

from keras_pixelcnnpp.classification.image_classifier import ImageClassifier, mirrored


class BaselineClassifier(ImageClassifier):
    """Classifies with a trained `BaselineCNN`.

    Args:
        model: A trained `BaselineCNN`.
        batch_size: How many pictures are classified at once.
        verbose: 1 shows Keras's progress bar.
        flip_average: Whether to answer with the mean of the probabilities of a picture and its
            mirror image; twice the work.

    Example:

    ```python
    classifier = BaselineClassifier(keras.models.load_model("runs/digits/baseline.keras"))
    classifier.score(images, labels)     # the accuracy
    ```
    """

    def __init__(self, model, batch_size: int = 256, verbose: int = 0, flip_average: bool = False):
        self.model = model
        self.batch_size = batch_size
        self.verbose = verbose
        self.flip_average = flip_average

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.model.num_classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.model.image_shape

    @property
    def num_levels(self) -> int:
        """The number of levels of a sub-pixel."""
        return self.model.num_levels

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        probabilities = self._of(images)
        if self.flip_average:
            probabilities = (probabilities + self._of(mirrored(images))) / 2
        return probabilities

    def _of(self, images: np.ndarray) -> np.ndarray:
        return self.model.class_probabilities(
            images, batch_size=self.batch_size, verbose=self.verbose
        )
