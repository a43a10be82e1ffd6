"""scikit-learn classifiers, trained already or by `fit`; class biases fitted after training."""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from keras_pixelcnnpp.checks import checked_images, require_integer
from keras_pixelcnnpp.data.batches import ImageBatches, SetEpoch
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.optimizers import LikelihoodFirst, make_optimizer
from keras_pixelcnnpp.presets import Preset, likelihood_epochs

# For the class biases; scoring images under every class takes its time.
BIAS_IMAGES = 5000
BIAS_DEVIATION = 3.0  # of their Gaussian prior, nats


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier over a model that is trained already.

    A subclass gives `num_classes`, `_trained_shape` (of an image) and `_probabilities(images)`.
    """

    def fit(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> Self:  # noqa: N803
        """Refuses: the model is trained already.

        What calls `fit`, such as `cross_val_score`, measures on images that it didn't give to
        `fit`. A trained model may have seen them, and the score would mean nothing.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"This {type(self).__name__} has a model that is trained already, and may have seen "
            "the images that it is to be scored on. Score it as it is; or train a new model for "
            "each fit, PixelCNNClassifier(preset=…, epochs=…); or, if no image at hand was "
            "trained on, say so: sklearn.frozen.FrozenEstimator(classifier)."
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # Rows of features are images too: integers, one for each sub-pixel.
        tags.input_tags.categorical = tags.input_tags.positive_only = True
        return tags

    def _images(
        self,
        X: Any,  # noqa: N803
        shape: tuple[int, int, int] | None = None,
        y: Any = "no_validation",
        reset: bool = False,
    ) -> Any:
        """`X` as uint8 images of a shape, with checked labels where `y` is given."""
        shape = self._trained_shape if shape is None else shape
        is_flat = np.ndim(X) < 3
        flat = X if is_flat else np.reshape(X, (len(X), math.prod(np.shape(X)[1:])))
        flat = validate_data(self, flat, y, reset=reset, dtype=None)
        flat, labels = flat if isinstance(flat, tuple) else (flat, None)
        if is_flat and flat.shape[1] == math.prod(shape):
            flat = flat.reshape(-1, *shape)
        images = checked_images(flat if is_flat else X, shape)
        return images if labels is None else (images, labels)

    @property
    def classes_(self) -> np.ndarray:
        """The labels that `predict` gives, in the order of `predict_proba`'s columns."""
        return np.arange(self.num_classes)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The probability of each class.

        Args:
            X: uint8 `[count, height, width, channels]`, 0 to 255, grayscale `[count, height,
                width]`, or the same as rows of features `[count, height * width * channels]`.

        Returns:
            float64 `[count, num_classes]`; rows sum to 1.

        Raises:
            ValueError: if `X` has another shape, or isn't made of integers from 0 to 255.
            NotFittedError: if there is no trained model yet.
        """
        check_is_fitted(self)
        probabilities = np.asarray(self._probabilities(self._images(X)), dtype=np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The most probable class of each image.

        Args:
            X: As in `predict_proba`.

        Returns:
            int `[count]`, entries of `classes_`.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class PixelCNNClassifier(ImageClassifier):
    """Classifies by Bayes' rule: `p(y | x)` is proportional to `p(x | y) p(y)`.

    Around a trained model it predicts at once, and `fit` refuses: in `cross_val_score` it would
    report scores of a model that has seen the held-out images. Without one, `fit` trains a new
    model, as `pixelcnnpp train` does, but for checkpoints, logs, random crops
    and the images that initialize the weights.

    Args:
        model: A trained model of the family with labels, or `None`: `fit` makes one. The arguments
            from `preset` on are for `fit` alone.
        batch_size: Integer, how many images are scored, each once per class, or trained on at
            once. `None`: 32 are scored, and training goes as the preset has it.
        verbose: 1 shows Keras's progress bar.
        preset: Name or folder of the preset that gives architecture and training options. Its
            weights are not used. Size and channels are those of the images, levels the preset's.
            The default's training mirrors images at random: digits and letters need another.
        image_shape: `(height, width, channels)`, which rows of features are reshaped to; one of
            the three may be -1, as in `numpy.reshape`. `None`: of images they are seen.
        epochs: Integer; `None`, here and below: as the preset has it.
        learning_rate: Float, at the beginning.
        label_loss_weight: Float, weight of the cross-entropy over the candidates. With 0, labels
            are learned slowly.
        model_options: Dict of arguments of the model that replace the preset's, such as
            `num_candidates`.
        seed: Integer, decides the initial weights, the order of the images and dropout. Python's,
            NumPy's and Keras's global random states stay as they are.

    Attributes:
        classes_: The labels as `fit` was given them, sorted; around a trained model 0, 1, ….
        model_: The model that `fit` trained.
        n_features_in_: `height * width * channels` of the images that `fit` was given.

    Example:

    ```python
    classifier = PixelCNNClassifier(keras.models.load_model("runs/digits/model.keras"))
    ConfusionMatrixDisplay.from_estimator(classifier, images, labels)

    new = PixelCNNClassifier(preset="digits", epochs=8)     # a new model for each fold
    cross_val_score(new, images, ["odd" if label % 2 else "even" for label in labels], cv=3)
    ```
    """

    def __init__(
        self,
        model: AutoregressiveModel | None = None,
        batch_size: int | None = None,
        verbose: int = 0,
        *,
        preset: str | Path = "photographs",
        image_shape: Sequence[int] | None = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        label_loss_weight: float | None = None,
        model_options: dict | None = None,
        seed: int = 0,
    ):
        self.model = model
        self.batch_size = batch_size
        self.verbose = verbose
        self.preset = preset
        self.image_shape = image_shape
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.label_loss_weight = label_loss_weight
        self.model_options = model_options
        self.seed = seed

    def fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: Sequence,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Trains a new model.

        Args:
            X: As in `predict_proba`.
            y: `[count]`, the class of each image: integers, texts, or what else can be sorted.
            sample_weight: Float `[count]`, at least 0: the weight of each image in the loss.

        Returns:
            `self`.

        Raises:
            ValueError: if there is a trained model already, an argument is out of range, or
                images, labels and weights don't fit.
        """
        if self.model is not None:
            return super().fit()
        shape = np.shape(X)[1:]
        if self.image_shape is not None:
            # Of rows of features; with -1 in it.
            shape = np.empty(shape).reshape(self.image_shape).shape
        elif len(shape) == 2:
            shape = (*shape, 1)
        if len(shape) != 3:
            raise ValueError(
                "Invalid value for argument `X`. Expected images of shape (N, height, width, "
                "channels). Images of that many features could be reshaped to image_shape: give "
                f"that to the classifier. Received: shape={np.shape(X)}"
            )
        images, labels = self._images(X, shape, y=y, reset=True)
        check_classification_targets(labels)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, images, ensure_non_negative=True)
        classes, labels = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                "Invalid value for argument `y`. Expected at least two classes. "
                f"Received: {len(classes)} class, y={classes[0]!r}"
            )
        preset = Preset(self.preset)
        training = self._training(preset.training)
        options = dict(self.model_options or {})
        if self.label_loss_weight is not None:
            options["label_loss_weight"] = self.label_loss_weight
        options |= {"num_classes": len(classes), "class_names": list(map(str, classes))}
        options["image_shape"] = images.shape[1:]
        with _seeded(self.seed):
            model = preset.make(AutoregressiveModel, **options)
        self._train(model, images, labels, sample_weight, training)
        self.model_, self._classes = model, classes
        return self

    def _training(self, preset: dict) -> dict:
        names = ("epochs", "learning_rate", "batch_size")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        training = {"batch_size": 16, **preset, **given}
        for name in names:
            if name not in training:
                raise ValueError(
                    f"Invalid value for argument `{name}`. The preset has none, so one must be "
                    f"given. Received: {name}=None, preset={self.preset!r}"
                )
        require_integer("epochs", training["epochs"])
        training["likelihood_epochs"] = likelihood_epochs(preset, training["epochs"])
        return training

    def _train(
        self,
        model: AutoregressiveModel,
        images: np.ndarray,
        labels: np.ndarray,
        sample_weight: np.ndarray | None,
        training: dict,
    ) -> None:
        batches = ImageBatches(
            images,
            labels,
            batch_size=training["batch_size"],
            seed=self.seed,
            horizontal_flip=training.get("horizontal_flip", False),
            sample_weight=sample_weight,
        )
        epochs, steps = training["epochs"], len(batches)
        first = training["likelihood_epochs"] if model.label_loss_weight else 0
        optimizer = make_optimizer(training, epochs * steps, first * steps)
        model.compile(optimizer)
        callbacks = [SetEpoch(batches), LikelihoodFirst(first)]
        model.fit(batches, epochs=epochs, shuffle=False, verbose=self.verbose, callbacks=callbacks)
        if model.label_loss_weight and model.posterior.learn_class_bias:
            batch_size = self.batch_size or 32
            refit_class_bias(model, images, labels, batch_size, self.seed, sample_weight)

    def __sklearn_is_fitted__(self) -> bool:
        return self.model is not None or hasattr(self, "model_")

    @property
    def _trained(self) -> AutoregressiveModel:
        return self.model_ if self.model is None else self.model

    @property
    def _trained_shape(self) -> tuple[int, int, int]:
        return self._trained.image_shape

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self._trained.num_classes

    @property
    def classes_(self) -> np.ndarray:
        """The labels that `predict` gives, in the order of `predict_proba`'s columns."""
        return self._classes if self.model is None else super().classes_

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The logarithm of each class's probability, exact where `predict_proba` rounds it to 0.

        Args:
            X: As in `predict_proba`.

        Returns:
            float64 `[count, num_classes]`, nats.
        """
        check_is_fitted(self)
        return self._scores_and_log_posterior(self._images(X))[1]

    def class_scores(
        self, images: np.ndarray, observed: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Likelihoods and posterior from one pass over the images.

        Args:
            images: uint8 `[count, height, width, channels]`.
            observed: Numbers of first rows, a sequence: the posterior given each of them.
                `None` for the whole image.

        Returns:
            `log p(x | y)` for each class, float32, nats, and `p(y | x)`, float64; both `[count,
            num_classes]`, or `[count, len(observed), num_classes]`.
        """
        scores, log_posterior = self._scores_and_log_posterior(images, observed)
        return scores, np.exp(log_posterior)

    def _scores_and_log_posterior(
        self, images: np.ndarray, observed: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        model, how = self._trained, (self.batch_size or 32, self.verbose, observed)
        scores = model.class_log_likelihoods(images, *how)
        # In float64: beside a difference of 20 nats, float32 knows only 1. How sure a model is
        # ranks its answers, and temperature scaling starts from it.
        logits = model.posterior.class_logits(scores.astype(np.float64))
        return scores, log_softmax(logits, axis=-1)

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        return self.class_scores(images)[1]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Within, Keras's layers get random states by a seed; Python's own is as before afterwards."""
    # Keras takes the seeds of initializers and of seed generators that have none from there.
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def refit_class_bias(
    model: AutoregressiveModel,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Fits the bias of each class anew, on some labeled images, with the weights as they are.

    Args:
        model: A trained model, whose posterior has class biases.
        images: uint8 `(N, height, width, channels)`, what it was trained on; about `BIAS_IMAGES`
            of them are scored, of each class the same share.
        labels: Int `(N,)`.
        batch_size: Integer, images at a time.
        seed: Integer, chooses them.
        sample_weight: Float `(N,)`, the weight of each image, or `None`: all have the same.
    """
    # The biases that training learned belong to a network with dropout, whose log-likelihoods are
    # shifted by class, and to weights before they were averaged. The cross-entropy is convex in the
    # biases, so there is one answer, whatever they were.
    rows = stratified_rows(labels, BIAS_IMAGES, seed)
    scores = model.class_log_likelihoods(images[rows], batch_size)
    weights = None if sample_weight is None else sample_weight[rows]
    fitted = fit_class_bias(model.logit_scale * scores.astype("float64"), labels[rows], weights)
    model.posterior.class_bias.assign(fitted.astype("float32"))


def stratified_rows(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """About `count` positions at random, of each class the same share, rounded up; all if fewer."""
    order = np.random.default_rng(seed).permutation(len(labels))
    share = min(1.0, count / len(labels))
    of_classes = (order[labels[order] == label] for label in np.unique(labels))
    return np.sort(np.concatenate([rows[: math.ceil(share * len(rows))] for rows in of_classes]))


def fit_class_bias(
    logits: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """The class biases that minimize the cross-entropy of `logits + class_bias`.

    A Gaussian prior, of the standard deviation `BIAS_DEVIATION` (nats), keeps the biases finite
    where a class is rare; of some hundred images of each class it changes little. Among the classes
    that have images the mean of the biases is 0. A class without any gets 0.

    Args:
        logits: Float `(N, num_classes)`.
        labels: Int `(N,)`.
        sample_weight: Float `(N,)`; a weight of 2 counts as two images. `None`: all have 1.

    Returns:
        float64 `(num_classes,)`.
    """
    fitted = np.zeros(logits.shape[1])
    present, labels = np.unique(labels, return_inverse=True)
    weights = np.ones(len(labels)) if sample_weight is None else sample_weight
    logits, counts = logits[:, present], np.bincount(labels, weights)

    def penalized(class_bias: np.ndarray) -> tuple[float, np.ndarray]:
        log_probs = log_softmax(logits + class_bias, axis=1)
        of_labels = log_probs[np.arange(len(labels)), labels]
        prior = class_bias / BIAS_DEVIATION**2
        gradient = weights @ np.exp(log_probs) - counts + prior
        return (class_bias @ prior / 2 - weights @ of_labels) / len(labels), gradient / len(labels)

    fitted[present] = minimize(penalized, np.zeros(len(present)), jac=True, method="BFGS").x
    return fitted
