"""What the three estimators have in common."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier over a model that is trained already.

    A subclass gives `num_classes`, `image_shape`, `num_levels` and `_probabilities(images)`. As in
    `sklearn.frozen.FrozenEstimator`, `fit` changes nothing.
    """

    def fit(self, X=None, y=None):  # noqa: N803
        """Does nothing: the model is trained. Returns `self`."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> np.ndarray:
        """The labels that `predict` gives, in the order of `predict_proba`'s columns."""
        return np.arange(self.num_classes)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        """The probability of each class.

        Args:
            X: uint8 `[count, height, width, channels]`, levels in `[0, num_levels)`.

        Returns:
            float64 `[count, num_classes]`; rows sum to 1.

        Raises:
            ValueError: if `X` has another dtype or shape, or holds a level that the model lacks.
        """
        images = check_images(X, self.image_shape, self.num_levels)
        if not len(images):
            return np.zeros((0, self.num_classes))
        probabilities = np.asarray(self._probabilities(images), dtype=np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        """The most probable class of each picture.

        Args:
            X: uint8 `[count, height, width, channels]`, levels in `[0, num_levels)`.

        Returns:
            int `[count]`, entries of `classes_`.
        """
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def mirrored(images: np.ndarray) -> np.ndarray:
    """The pictures `[count, height, width, channels]` with left and right exchanged."""
    return images[:, :, ::-1]


def check_images(images: np.ndarray, image_shape: tuple[int, ...], num_levels: int) -> np.ndarray:
    """Returns `images` as an array, or raises a `ValueError` that says what was expected."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != tuple(image_shape):
        expected = ", ".join(str(size) for size in image_shape)
        raise ValueError(
            "Invalid value for argument `images`. Expected a uint8 array of shape "
            f"(count, {expected}). Received: dtype={images.dtype}, shape={images.shape}"
        )
    if images.size and images.max() >= num_levels:
        raise ValueError(
            f"Invalid value for argument `images`. Expected levels from 0 to {num_levels - 1}. "
            f"Received: a level of {images.max()}"
        )
    return images
