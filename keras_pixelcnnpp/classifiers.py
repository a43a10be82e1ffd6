"""scikit-learn classifiers, trained already or by `fit`, and the file of their answers."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from keras_pixelcnnpp.backend import jit_compile
from keras_pixelcnnpp.checks import checked_images
from keras_pixelcnnpp.data.batches import ImageSequence, SetEpoch
from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.files import atomic_path
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.optimizers import LikelihoodFirst, make_optimizer, use_averages
from keras_pixelcnnpp.presets import Preset, likelihood_epochs

OFFSET_IMAGES = 5000  # for one number a class; scoring them under every class takes its time


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier over a model that is trained already.

    A subclass gives `num_classes` and `_probabilities(images)`.
    """

    def fit(self, X: np.ndarray | None = None, y: np.ndarray | None = None) -> Self:  # noqa: N803
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
        tags.input_tags.two_d_array = False  # images have four axes
        return tags

    @property
    def classes_(self) -> np.ndarray:
        """The labels that `predict` gives, in the order of `predict_proba`'s columns."""
        return np.arange(self.num_classes)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        """The probability of each class.

        Args:
            X: uint8 `[count, height, width, channels]`, 0 to 255.

        Returns:
            float64 `[count, num_classes]`; rows sum to 1.

        Raises:
            ValueError: if `X` has another shape, or isn't made of integers from 0 to 255.
            NotFittedError: if there is no trained model yet.
        """
        check_is_fitted(self)
        probabilities = np.asarray(self._probabilities(np.asarray(X)), dtype=np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        """The most probable class of each image.

        Args:
            X: As in `predict_proba`.

        Returns:
            int `[count]`, entries of `classes_`.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class _KerasClassifier(ImageClassifier):
    """A classifier over a Keras model, which says what it was built for."""

    @property
    def _trained(self) -> keras.Model:
        return self.model

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self._trained.num_classes


class PixelCNNClassifier(_KerasClassifier):
    """Classifies by Bayes' rule: `p(y | x)` is proportional to `p(x | y) p(y)`.

    Around a trained model it predicts at once, and `fit` refuses: in `cross_val_score` it would
    report scores of a model that has seen the held-out images. Without one, `fit` trains a new
    model, as `pixelcnnpp train pixelcnnpp` does, but for checkpoints, logs and random crops.

    Args:
        model: A trained model of the family with labels, or `None`: `fit` makes one. The arguments
            from `preset` on are for `fit` alone.
        batch_size: Integer, how many images are scored, each once per class, and trained on at
            once.
        verbose: 1 shows Keras's progress bar.
        tta_flip: Whether to classify by the mean of `log p(x | y)` over an image and its mirror
            image; twice the work.
        preset: Name or folder of the preset that gives architecture and training options. Its
            weights are not used. Size and channels are those of the images, levels the preset's.
        epochs: Integer; `None`, here and below: as the preset has it.
        learning_rate: Float, at the beginning.
        label_loss_weight: Float, weight of the cross-entropy over the candidates. Without any (of
            the preset `"report"`), labels are learned slowly.
        model_options: Dict of arguments of the model that replace the preset's, such as
            `num_candidates`.
        seed: Integer. `fit` sets Keras's global seed to it.

    Attributes:
        classes_: The labels as `fit` was given them, sorted; around a trained model 0, 1, ….
        model_: The model that `fit` trained.

    Raises:
        ValueError: if `model` knows no classes.

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
        batch_size: int = 32,
        verbose: int = 0,
        tta_flip: bool = False,
        *,
        preset: str | Path = "report",
        epochs: int | None = None,
        learning_rate: float | None = None,
        label_loss_weight: float | None = None,
        model_options: dict | None = None,
        seed: int = 0,
    ):
        self.model = model
        self.batch_size = batch_size
        self.verbose = verbose
        self.tta_flip = tta_flip
        self.preset = preset
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.label_loss_weight = label_loss_weight
        self.model_options = model_options
        self.seed = seed
        if getattr(model, "num_classes", None) == 0:
            raise ValueError(
                "Invalid value for argument `model`. Expected a model that was trained with "
                f"labels. Received: model.num_classes={model.num_classes}"
            )

    def fit(self, X: np.ndarray, y: Sequence) -> Self:  # noqa: N803
        """Trains a new model.

        Args:
            X: As in `predict_proba`.
            y: `[count]`, the class of each image: integers, texts, or what else can be sorted.

        Returns:
            `self`.

        Raises:
            ValueError: if there is a trained model already, an argument is out of range, or
                images and labels don't fit.
        """
        if self.model is not None:
            return super().fit()
        labels = column_or_1d(y)
        check_classification_targets(labels)
        check_consistent_length(X, labels)
        classes, labels = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                "Invalid value for argument `y`. Expected at least two classes. "
                f"Received: y={list(classes)}"
            )
        preset = Preset(self.preset)
        training = self._training(preset.training)
        keras.utils.set_random_seed(self.seed)
        options = {**(self.model_options or {}), "num_classes": len(classes)}
        if self.label_loss_weight is not None:
            options["label_loss_weight"] = self.label_loss_weight
        options["class_names"] = list(map(str, classes))
        options["image_shape"] = np.shape(X)[1:]
        model = preset.make(AutoregressiveModel, **options)
        images = checked_images(X, model.image_shape)
        training_set = LabeledImages(images, labels.astype("int32"), ("",) * len(labels))
        self._train(model, training_set, training)
        self.model_, self._classes = model, classes
        return self

    def _training(self, preset):
        given = {"epochs": self.epochs, "learning_rate": self.learning_rate}
        training = {**preset, **{name: value for name, value in given.items() if value is not None}}
        for name in given:
            if name not in training:
                raise ValueError(
                    f"Invalid value for argument `{name}`. The preset has none, so one must be "
                    f"given. Received: {name}=None, preset={self.preset!r}"
                )
        training["likelihood_epochs"] = likelihood_epochs(preset, training["epochs"])
        return training

    def _train(self, model, images, training):
        batches = ImageSequence(
            images.images,
            images.labels,
            batch_size=self.batch_size,
            num_classes=model.num_classes,
            seed=self.seed,
            horizontal_flip=training.get("horizontal_flip", False),
        )
        epochs, steps = training["epochs"], len(batches)
        first = training["likelihood_epochs"] if model.label_loss_weight else 0
        optimizer = make_optimizer(training, epochs * steps, first * steps)
        model.compile(optimizer, jit_compile=jit_compile(None))
        callbacks = [SetEpoch(batches), LikelihoodFirst(first)]
        model.fit(batches, epochs=epochs, shuffle=False, verbose=self.verbose, callbacks=callbacks)
        use_averages(model)
        if model.posterior.learn_class_bias:
            refit_class_bias(model, images, self.batch_size, self.seed)

    def __sklearn_is_fitted__(self) -> bool:
        return self.model is not None or hasattr(self, "model_")

    @property
    def _trained(self) -> AutoregressiveModel:
        return self.model_ if self.model is None else self.model

    @property
    def classes_(self) -> np.ndarray:
        """The labels that `predict` gives, in the order of `predict_proba`'s columns."""
        return self._classes if self.model is None else super().classes_

    @property
    def logit_scale(self) -> float:
        """What the posterior multiplies a difference of log-likelihoods with."""
        return float(np.exp(ops.convert_to_numpy(self._trained.posterior.log_logit_scale)))

    def predict_log_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        """The logarithm of each class's probability, exact where `predict_proba` rounds it to 0.

        Args:
            X: As in `predict_proba`.

        Returns:
            float64 `[count, num_classes]`, nats.
        """
        check_is_fitted(self)
        return self._judged(np.asarray(X))[1]

    def class_scores(
        self, images: np.ndarray, observed_rows: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Likelihoods and posterior from one pass over the images.

        Args:
            images: uint8 `[count, height, width, channels]`.
            observed_rows: Numbers of first rows, a sequence: the posterior given each of them.
                `None` for the whole image.

        Returns:
            `log p(x | y)` of the images as they are for each class, nats, and `p(y | x)`,
            float64, by which they are classified; both `[count, num_classes]`, or `[count,
            len(observed_rows), num_classes]`.
        """
        scores, log_posterior = self._judged(images, observed_rows)
        return scores, np.exp(log_posterior)

    def _judged(self, images, observed_rows=None):
        scores = averaged = self._log_likelihoods(images, observed_rows)
        if self.tta_flip:
            averaged = (scores + self._log_likelihoods(images[:, :, ::-1], observed_rows)) / 2
        # In float64: beside a difference of 20 nats, float32 knows only 1. How sure a model is
        # ranks its answers, and temperature scaling starts from it.
        logits = self._trained.posterior.class_logits(ops.convert_to_tensor(averaged))
        return scores, log_softmax(ops.convert_to_numpy(logits).astype(np.float64), axis=-1)

    def _log_likelihoods(self, images, observed_rows=None):
        return self._trained.class_log_likelihoods(
            images, batch_size=self.batch_size, verbose=self.verbose, observed_rows=observed_rows
        )

    def _probabilities(self, images):
        return self.class_scores(images)[1]


def refit_class_bias(
    model: AutoregressiveModel,
    images: LabeledImages,
    batch_size: int,
    seed: int,
    **scoring,
) -> None:
    """Fits the offset of each class anew, on some labeled images, with the weights as they are.

    Args:
        model: A trained model, whose posterior has class biases.
        images: What it was trained on; `OFFSET_IMAGES` of them are scored.
        batch_size: Integer, images at a time.
        seed: Integer, chooses them.
        **scoring: More arguments of `class_log_likelihoods`, such as `verbose`. With all rows
            `observed_rows` gives the same by the function that scores rows, if that is compiled.
    """
    # The biases that training learned belong to a network with dropout, whose log-likelihoods are
    # shifted by class, and to weights before they were averaged. The cross-entropy is convex in the
    # biases, so there is one answer, whatever they were.
    images = images.some(OFFSET_IMAGES, seed)
    scores = model.class_log_likelihoods(images.images, batch_size=batch_size, **scoring)
    temperature = np.exp(ops.convert_to_numpy(model.posterior.log_logit_scale))
    fitted = fit_class_bias(temperature * scores.astype("float64"), images.labels)
    class_bias = np.append(fitted, 0.0).astype("float32")  # "no label" has no prior of its own
    model.posterior.class_bias.assign(class_bias)


def fit_class_bias(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class biases, of mean 0, that minimize the cross-entropy of `logits + class_bias`.

    Logits are float `(count, num_classes)`; they are float64 `(num_classes,)`.
    """
    num_classes = logits.shape[1]
    frequencies = np.bincount(labels, minlength=num_classes) / len(labels)

    def cross_entropy(class_bias):
        log_probs = log_softmax(logits + class_bias, axis=1)
        value = -np.mean(log_probs[np.arange(len(labels)), labels])
        return value, np.exp(log_probs).mean(axis=0) - frequencies

    fitted = minimize(cross_entropy, np.zeros(num_classes), jac=True, method="BFGS").x
    return fitted - fitted.mean()


class BaselineClassifier(_KerasClassifier):
    """Classifies with a trained `BaselineCNN`.

    Args:
        model: A trained `BaselineCNN`.
        batch_size: How many images are classified at once.
        verbose: 1 shows Keras's progress bar.
        tta_flip: Whether to answer with the mean of the probabilities of an image and its
            mirror image; twice the work.

    Example:

    ```python
    classifier = BaselineClassifier(keras.models.load_model("runs/digits/baseline.keras"))
    classifier.score(images, labels)     # the accuracy
    ```
    """

    def __init__(self, model, batch_size: int = 256, verbose: int = 0, tta_flip: bool = False):
        self.model = model
        self.batch_size = batch_size
        self.verbose = verbose
        self.tta_flip = tta_flip

    def _probabilities(self, images):
        probabilities = self._of(images)
        if self.tta_flip:
            probabilities = (probabilities + self._of(images[:, :, ::-1])) / 2
        return probabilities

    def _of(self, images):
        return self.model.class_probabilities(images, self.batch_size, self.verbose)


def write_predictions(
    path: str | Path,
    images: Sequence[str],
    labels: Sequence[int],
    probabilities: np.ndarray,
    class_names: Sequence[str],
) -> None:
    """Writes `path,label,label_name,predicted,predicted_name,p_0,p_1,…` with a header, atomically.

    Args:
        path: The CSV file to write.
        images: The name of each image.
        labels: The true class of each image; -1, without a name, where it is not known.
        probabilities: float `[count, num_classes]`. `predicted` is the class of the largest.
        class_names: The name of each class.
    """
    header = ["path", "label", "label_name", "predicted", "predicted_name"]
    header += [f"p_{label}" for label in range(len(class_names))]
    # A file's name may hold bytes that are no text: they are written as they are.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        for image, label, row in zip(images, labels, probabilities, strict=True):
            named = [label, class_names[label] if label >= 0 else ""]
            best = row.argmax()
            writer.writerow([image, *named, best, class_names[best], *(f"{p:.6g}" for p in row)])
