"""A generative model as a scikit-learn classifier."""

import numpy as np

from keras_pixelcnnpp.classification.image_classifier import (
    ImageClassifier,
    check_images,
    mirrored,
)


class PixelCNNClassifier(ImageClassifier):
    """Classifies by Bayes' rule: `p(y | x)` is proportional to `p(x | y) p(y)`.

    Args:
        model: A trained `PixelCNNPlusPlus` with labels.
        batch_size: How many pictures are scored at once; each is scored once per class.
        verbose: 1 shows Keras's progress bar.
        flip_average: Whether to judge by the mean of `log p(x | y)` over a picture and its mirror
            image; twice the work.

    Raises:
        ValueError: if the model knows no classes.

    Example:

    ```python
    classifier = PixelCNNClassifier(keras.models.load_model("runs/digits/model.keras"))
    ConfusionMatrixDisplay.from_estimator(classifier, images, labels)
    ```
    """

    def __init__(self, model, batch_size: int = 32, verbose: int = 0, flip_average: bool = False):
        self.model = model
        self.batch_size = batch_size
        self.verbose = verbose
        self.flip_average = flip_average
        if not model.num_classes:
            raise ValueError(
                "Invalid value for argument `model`. Expected a model that was trained with "
                f"labels. Received: model.num_classes={model.num_classes}"
            )

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

    @property
    def temperature(self) -> float:
        """What the posterior multiplies a difference of log-likelihoods with."""
        from keras import ops

        return float(np.exp(ops.convert_to_numpy(self.model.posterior.log_temperature)))

    def class_scores(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Likelihoods and posterior from one pass over the pictures.

        Args:
            images: uint8 `[count, height, width, channels]`, levels.

        Returns:
            `log p(x | y)` of the pictures as they are for each class, nats, and `p(y | x)`,
            float64, by which they are classified; both `[count, num_classes]`.
        """
        images = check_images(images, self.image_shape, self.num_levels)
        scores = averaged = self._log_likelihoods(images)
        if self.flip_average:
            averaged = (scores + self._log_likelihoods(mirrored(images))) / 2
        return scores, self._posterior(averaged)

    def _log_likelihoods(self, images: np.ndarray) -> np.ndarray:
        return self.model.class_log_likelihoods(
            images, batch_size=self.batch_size, verbose=self.verbose
        )

    def _posterior(self, scores: np.ndarray) -> np.ndarray:
        # In float64: beside a difference of 20 nats, float32 knows only 1. How sure a model is
        # ranks its answers, and temperature scaling starts from it.
        from keras import ops
        from scipy.special import softmax

        logits = self.model.posterior.class_logits(ops.convert_to_tensor(scores))
        return softmax(ops.convert_to_numpy(logits).astype(np.float64), axis=1)

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        return self.class_scores(images)[1]
