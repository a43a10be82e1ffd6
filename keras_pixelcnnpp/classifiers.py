"""scikit-learn classifiers over models that are trained already, and the file of their answers."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from keras import ops
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from keras_pixelcnnpp.files import atomic_path


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
        probabilities = np.asarray(self._probabilities(np.asarray(X)), dtype=np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        """The most probable class of each picture.

        Args:
            X: uint8 `[count, height, width, channels]`, levels in `[0, num_levels)`.

        Returns:
            int `[count]`, entries of `classes_`.
        """
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class _KerasClassifier(ImageClassifier):
    """A classifier over a Keras model, which says what it was built for."""

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


class PixelCNNClassifier(_KerasClassifier):
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
    def temperature(self) -> float:
        """What the posterior multiplies a difference of log-likelihoods with."""
        return float(np.exp(ops.convert_to_numpy(self.model.posterior.log_temperature)))

    def class_scores(
        self, images: np.ndarray, known_rows: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Likelihoods and posterior from one pass over the pictures.

        Args:
            images: uint8 `[count, height, width, channels]`, levels.
            known_rows: How many of the first rows to judge by, several numbers of them; `None` for
                the whole picture.

        Returns:
            `log p(x | y)` of the pictures as they are for each class, nats, and `p(y | x)`,
            float64, by which they are classified; both `[count, num_classes]`, or `[count,
            len(known_rows), num_classes]`.
        """
        scores = averaged = self._log_likelihoods(images, known_rows)
        if self.flip_average:
            averaged = (scores + self._log_likelihoods(mirrored(images), known_rows)) / 2
        return scores, self._posterior(averaged)

    def _log_likelihoods(
        self, images: np.ndarray, known_rows: Sequence[int] | None = None
    ) -> np.ndarray:
        return self.model.class_log_likelihoods(
            images, batch_size=self.batch_size, verbose=self.verbose, known_rows=known_rows
        )

    def _posterior(self, scores: np.ndarray) -> np.ndarray:
        # In float64: beside a difference of 20 nats, float32 knows only 1. How sure a model is
        # ranks its answers, and temperature scaling starts from it.
        logits = self.model.posterior.class_logits(ops.convert_to_tensor(scores))
        return softmax(ops.convert_to_numpy(logits).astype(np.float64), axis=-1)

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        return self.class_scores(images)[1]


class BaselineClassifier(_KerasClassifier):
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

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        probabilities = self._of(images)
        if self.flip_average:
            probabilities = (probabilities + self._of(mirrored(images))) / 2
        return probabilities

    def _of(self, images: np.ndarray) -> np.ndarray:
        return self.model.class_probabilities(
            images, batch_size=self.batch_size, verbose=self.verbose
        )


def mirrored(images: np.ndarray) -> np.ndarray:
    """The pictures `[count, height, width, channels]` with left and right exchanged."""
    return images[:, :, ::-1]


def write_predictions(
    path: str | Path,
    pictures: Sequence[str],
    labels: Sequence[int],
    probabilities: np.ndarray,
) -> None:
    """Writes `path,label,predicted,p_0,p_1,…` with a header, atomically.

    Args:
        path: The CSV file to write.
        pictures: The name of each picture.
        labels: The true class of each picture; -1 where it is not known.
        probabilities: float `[count, num_classes]`. `predicted` is the class of the largest.
    """
    num_classes = probabilities.shape[1]
    header = ["path", "label", "predicted", *(f"p_{index}" for index in range(num_classes))]
    # A file's name may hold bytes that are no text: they are written as they are.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        for picture, label, row in zip(pictures, labels, probabilities, strict=True):
            writer.writerow([picture, int(label), int(row.argmax()), *(f"{p:.6g}" for p in row)])
