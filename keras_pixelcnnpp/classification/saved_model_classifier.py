"""An exported model as a scikit-learn classifier."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.classification.image_classifier import ImageClassifier, check_images
from keras_pixelcnnpp.exported_model import ExportedModel


class SavedModelClassifier(ImageClassifier):
    """Classifies with a SavedModel that `pixelcnnpp savedmodel export` wrote.

    It needs TensorFlow, whatever Keras's backend is.

    Args:
        path: `runs/NAME/savedmodel`, of which the newest version is taken, or one version's
            folder, such as `runs/NAME/savedmodel/1`.
        batch_size: How many pictures are scored at once.

    Attributes:
        class_names: The names of the classes, in the order of `classes_`.
        config: The configuration of the training run.
        num_classes, image_shape, num_levels: What the model was built for.

    Raises:
        UserError: if there is no such SavedModel at `path`, or TensorFlow is missing.

    Example:

    ```python
    classifier = SavedModelClassifier("runs/digits/savedmodel")
    classifier.predict(images)                      # uint8 levels, [count, height, width, channels]
    classifier.classify_bytes([Path("seven.png").read_bytes()])["class_id"]
    ```
    """

    def __init__(self, path: str | Path, batch_size: int = 64):
        self.path = path
        self.batch_size = batch_size
        self._exported = ExportedModel(path)
        self.config = self._exported.config
        self.class_names = self._exported.class_names
        self.image_shape = self._exported.image_shape
        self.num_levels = self._exported.num_levels
        self.num_classes = len(self.class_names)

    def classify(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """All that the endpoint `classify` tells about each picture.

        Args:
            images: uint8 `[count, height, width, channels]`, levels in `[0, num_levels)`.

        Returns:
            A dictionary of `class_id` int32 `[count]`, `probabilities` `[count, num_classes]`,
            `log_likelihood` `[count, num_classes]` (nats) and `bits_per_dim` `[count]`.

        Raises:
            ValueError: if `images` has another dtype or shape.
        """
        images = check_images(images, self.image_shape, self.num_levels)
        return self._run("classify", "images", images)

    def classify_bytes(self, pictures: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Like `classify`, for the content of PNG and JPEG files of any size.

        The pictures are decoded and resized inside the SavedModel.

        Args:
            pictures: The content of each file.

        Returns:
            What `classify` returns. A file that can't be decoded has the class -1, and NaN
            elsewhere; the others are not affected.
        """
        return self._run("classify_bytes", "image_bytes", list(pictures))

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        return self.classify(images)["probabilities"]

    def _run(self, endpoint: str, argument: str, inputs) -> dict[str, np.ndarray]:
        return self._exported.run_in_batches(endpoint, self.batch_size, **{argument: inputs})
