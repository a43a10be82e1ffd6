"""scikit-learn classifiers around trained or new models."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe
from keras_pixelcnnpp.training.train import train
from keras_pixelcnnpp.utils.checks import checked_images, require_no_mask


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """Base class of scikit-learn classifiers around a trained model.

    Subclasses define `num_classes`, `_probabilities(images)` and `_trained`, which has the
    attributes `image_shape` and `num_levels`.
    """

    def fit(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> Self:  # noqa: N803
        """Raises an error, because the model is already trained.

        Functions that call `fit`, such as `cross_val_score`, use held-out images to score the
        estimator. A trained model may have seen these images.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"The model of this {type(self).__name__} is already trained, and may have seen the "
            "held-out images. Score it without `fit`; or train a new model in each `fit` with "
            "PixelCNNClassifier(preset=…, epochs=…); or, if the model was not trained on any of "
            "the images, use sklearn.frozen.FrozenEstimator(classifier)."
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # Images may be rows of features: integers, one for each sub-pixel.
        tags.input_tags.categorical = tags.input_tags.positive_only = True
        return tags

    def _images(
        self,
        X: Any,  # noqa: N803
        shape: tuple[int, int, int] | None = None,
        num_levels: int = 256,
        y: Any = "no_validation",
        reset: bool = False,
    ) -> Any:
        """Converts `X` to images of a shape, and checks `y` if it is given."""
        require_no_mask(X)
        if shape is None:
            shape, num_levels = self._trained.image_shape, self._trained.num_levels
        is_flat = np.ndim(X) < 3
        flat = X if is_flat else np.reshape(X, (len(X), math.prod(np.shape(X)[1:])))
        flat = validate_data(self, flat, y, reset=reset, dtype=None)
        flat, labels = flat if isinstance(flat, tuple) else (flat, None)
        if is_flat and flat.shape[1] == math.prod(shape):
            flat = flat.reshape(-1, *shape)
        images = checked_images(flat if is_flat else X, shape, max(256, num_levels))
        return images if labels is None else (images, labels)

    @property
    def classes_(self) -> np.ndarray:
        """Labels that `predict` returns, in the order of the columns of `predict_proba`."""
        return np.arange(self.num_classes)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Returns the probability of each class.

        Args:
            X: uint8 array `(N, height, width, channels)`, 0 to 255; `(N, height, width)` for
                grayscale images; or `(N, height * width * channels)`, rows of features.

        Returns:
            Float64 array `(N, num_classes)`; rows sum to 1.

        Raises:
            ValueError: If `X` has another shape, or values that are not integers from 0 to 255.
            NotFittedError: If there is no trained model yet.
        """
        check_is_fitted(self)
        probabilities = np.asarray(self._probabilities(self._images(X)), dtype=np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Returns the most probable class of each image, an array `(N,)` of entries of `classes_`.

        Images and errors are as in `predict_proba`.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class PixelCNNClassifier(ImageClassifier):
    """scikit-learn classifier with the class posterior of a PixelCNN++.

    With a trained model, it can predict immediately, and `fit` raises an error, because functions
    such as `cross_val_score` would score a model that may have seen the held-out images. Without a
    model, `fit` trains a new one, like `pixelcnnpp train`, but without checkpoints, logs and random
    crops, and initializes the weights with other images.

    Args:
        model: A trained, class-conditional `AutoregressiveModel`, or `None` to train a model with
            `fit`. Only `fit` uses the arguments from `preset` on.
        batch_size: Integer, number of images per batch in scoring and training. By default 32 in
            scoring, and the value of the preset in training.
        verbose: 0, or 1 for Keras's progress bar.
        preset: Name or folder of the preset with the arguments of the model and training options.
            Its weights are not used, and its image shape is replaced by that of the images. The
            default mirrors images at random, so choose another preset for digits and letters.
        image_shape: `(height, width, channels)`, to which rows of features are reshaped. One size
            may be -1, as in `numpy.reshape`. `None` for images, which have a shape.
        epochs: Integer, number of epochs, by default that of the preset.
        learning_rate: Float, peak of the learning rate, by default that of the preset.
        model_options: Dict of arguments of the model that replace those of the preset, such as
            `num_candidates`. With `label_loss_weight` 0, labels are learned slowly.
        seed: Integer, random seed of the initial weights, the order of the images and dropout. The
            global random states of Python, NumPy and Keras do not change.

    Attributes:
        classes_: Sorted labels that were given to `fit`, or 0, 1, … for a trained model.
        model_: The model that `fit` trained.
        n_features_in_: `height * width * channels` of the images that were given to `fit`.

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
            X: Images, as in `predict_proba`.
            y: Array `(N,)`, the class of each image: integers, strings or other sortable labels.
            sample_weight: Optional float array `(N,)`, weights >= 0 of the images in the loss.

        Returns:
            `self`.

        Raises:
            ValueError: If the model is already trained, an argument is out of range, or images,
                labels and weights don't fit.
        """
        if self.model is not None:
            return super().fit()
        shape = np.shape(X)[1:]
        if self.image_shape is not None:
            # NumPy resolves -1, and checks the number of features.
            shape = np.empty(shape).reshape(self.image_shape).shape
        elif len(shape) == 2:
            shape = (*shape, 1)
        if len(shape) != 3:
            raise ValueError(
                "Invalid value for argument `X`. Expected images of shape (N, height, width, "
                "channels). Rows of features can be reshaped with the classifier's argument "
                f"`image_shape`. Received: shape={np.shape(X)}"
            )
        preset, options = Preset(self.preset), dict(self.model_options or {})
        arguments = {**preset.arguments, **options}
        levels = arguments.get("num_levels", 256)
        images, labels = self._images(X, shape, levels, y, reset=True)
        check_classification_targets(labels)
        if sample_weight is not None:
            weights = check_array(sample_weight, ensure_2d=False, ensure_non_negative=True)
            sample_weight = column_or_1d(weights)
            check_consistent_length(images, sample_weight)
            if not np.any(sample_weight):
                raise ValueError(
                    "Invalid value for argument `sample_weight`. Expected a weight above 0. "
                    "Received: only zeros"
                )
        classes, labels = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                "Invalid value for argument `y`. Expected at least two classes. "
                f"Received: {len(classes)} class, y={classes[0]!r}"
            )
        given = {name: getattr(self, name) for name in ("epochs", "learning_rate", "batch_size")}
        of_preset = PixelCNNRecipe.of(preset.training)
        recipe = PixelCNNRecipe(**given, seed=self.seed).for_data(of_preset, len(classes), False)
        options |= {"num_classes": len(classes), "class_names": list(map(str, classes))}
        options["image_shape"] = images.shape[1:]
        # Keras takes default seeds of initializers and seed generators from Python's `random`.
        before = random.getstate()
        random.seed(self.seed)
        try:
            model = preset.make(AutoregressiveModel, **options)
        finally:
            random.setstate(before)
        given = LabeledImages(images, labels, paths=())
        train(model, given, recipe, sample_weight=sample_weight, verbose=self.verbose)
        self.model_, self._classes = model, classes
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self.model is not None or hasattr(self, "model_")

    @property
    def _trained(self) -> AutoregressiveModel:
        return self.model_ if self.model is None else self.model

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self._trained.num_classes

    @property
    def classes_(self) -> np.ndarray:
        """Labels that `predict` returns, in the order of the columns of `predict_proba`."""
        return self._classes if self.model is None else super().classes_

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Returns the logarithm of `predict_proba`, in nats, also where that rounds to 0.

        Args:
            X: uint8 array `(N, height, width, channels)` or `(N, height, width)`, 0 to 255.

        Returns:
            Float64 array `(N, num_classes)`.
        """
        check_is_fitted(self)
        return self._log_posterior(self._images(X))

    def _log_posterior(self, images: np.ndarray) -> np.ndarray:
        model = self._trained
        scores = model.class_log_likelihoods(images, self.batch_size or 32, self.verbose)
        # float64, because float32 rounds the probability to 1 for a difference of 20 nats. Ranking
        # by confidence and temperature scaling need the exact values.
        logits = model.posterior.class_logits(scores)
        return log_softmax(logits, axis=-1)

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        return np.exp(self._log_posterior(images))
