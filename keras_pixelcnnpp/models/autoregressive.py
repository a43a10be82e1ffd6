"""What every model of the family does: fit, score, classify, draw, come from a preset."""

import math
import types
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.backend import (
    Tensor,
    device_name,
    keep_freed_memory_unless_told,
    verbosity,
)
from keras_pixelcnnpp.checks import (
    checked_image_shape,
    checked_images,
    checked_labels,
    checked_rows,
    plain,
    require_levels,
    require_nonnegative_integer,
    require_nonnegative_number,
    require_positive_integer,
    require_positive_number,
    require_rate,
)
from keras_pixelcnnpp.codec.container import compress_pictures, decompress_pictures
from keras_pixelcnnpp.conditioning import parse_conditioning
from keras_pixelcnnpp.data.batches import ArrayBatches, feed
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.distributions.heads import make_head
from keras_pixelcnnpp.errors import UserError, without_retracing_advice
from keras_pixelcnnpp.layers.posterior import LabelPosterior, log_marginal
from keras_pixelcnnpp.layers.weight_normalized import data_dependent_initialization
from keras_pixelcnnpp.models.inputs import (
    as_inputs,
    checked_inputs,
    checked_validation_data,
    is_batched,
    require_pictures,
)
from keras_pixelcnnpp.models.scorer import LogLikelihood
from keras_pixelcnnpp.presets import PresetFolder
from keras_pixelcnnpp.sampling.sampler import PixelSampler, draw, draw_rows, known_pixels

# Of one layer, in scoring, so that a batch stays near a gigabyte: 128 pictures of 10 classes of the
# default network, 52 million features a layer, took 4.0 GB.
MOST_FEATURES = 12_000_000


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class MeanOverBatch(keras.losses.Loss):
    """The mean of losses that are computed already, one per picture.

    Under `tf.distribute` each replica has a part of the batch and the gradients of all are summed;
    what a replica's loss must be divided by for that, `keras.losses.Loss` knows, `ops.mean` not.

    Call arguments:
        y_true: Not looked at.
        y_pred: Float `(batch,)`, the losses.
        sample_weight: Float `(batch,)` or `None`; the weighted losses are divided by the number of
            pictures, not by the sum of the weights.

    Returns:
        Scalar; under `tf.distribute`, this replica's share of it.

    Example:

    >>> MeanOverBatch()(None, [1.0, 3.0], sample_weight=[1.0, 2.0])      # 3.5
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(y_pred, y_pred, sample_weight=sample_weight)

    def call(self, y_true, y_pred):
        return y_pred


class AutoregressiveModel(keras.Model):
    """p(x | y) as a product over pixels: a causal network and a distribution of one pixel.

    A subclass makes the network, an `AutoregressiveNetwork`, and hands it to `_assemble`. The
    methods that take and return arrays check their inputs and work in batches; those
    named `…_tensors` can be traced and exported.

    It takes K candidate labels per picture, the true one first. K = 1 is plain maximum
    likelihood. With K > 1 and `label_loss_weight` > 0, training adds the cross-entropy of the
    true label among the candidates:

        loss = bits/dim of the true label + label_loss_weight * cross-entropy (nats)

    A picture without a label teaches too, where all classes are candidates and
    `unlabelled_weight` > 0: the model knows p(x), the mean of p(x | y) over the classes.

        loss = unlabelled_weight * bits/dim of p(x)

    Args:
        image_shape: Triple of positive integers `(height, width, channels)`.
        num_classes: Integer, number of classes; 0 for an unconditional model.
        num_levels: Integer from 2 to 256, number of values of a sub-pixel.
        filters: Integer, the width of the network.
        num_blocks: Integer, residual blocks.
        num_mixtures: Integer, number of logistic components, for that head.
        head: `"logistic_mixture"` or `"categorical"`, the distribution of a pixel.
        conditioning: How labels enter: `"none"`, or names from
            `keras_pixelcnnpp.conditioning.STRATEGIES` joined by `+`.
        dropout_rate: Float in [0, 1).
        label_dropout_rate: Float in [0, 1): share of training pictures that are shown without
            their label, which teaches the model p(x) and enables guidance.
        label_loss_weight: Float >= 0, weight of the cross-entropy.
        unlabelled_weight: Float >= 0, weight of the pictures without a label, of which log p(x) is
            learned; 0: all have one. Their candidates are `[-1, 1, …, num_classes - 1]`.
        initial_temperature: Float > 0, what the log-likelihoods are multiplied with before
            the cross-entropy, at first.
        learn_temperature: Boolean, whether that factor is learned.
        learn_offsets: Boolean, whether an offset for each class is learned.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        ValueError: If an argument is out of range.
    """

    architecture = None  # the name by which commands and presets know a subclass
    title = None  # and people
    # Whether a softmax's sub-pixels depend on each other by tables: the network computes them all
    # at once.
    head_has_tables = True

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        num_levels: int = 256,
        *,
        filters: int | Sequence[int],
        num_blocks: int | Sequence[int],
        num_mixtures: int = 5,
        head: str = "logistic_mixture",
        conditioning: str = "none",
        dropout_rate: float = 0.0,
        label_dropout_rate: float = 0.0,
        label_loss_weight: float = 0.0,
        unlabelled_weight: float = 0.0,
        initial_temperature: float = 1.0,
        learn_temperature: bool = True,
        learn_offsets: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_shape = checked_image_shape(image_shape)
        require_nonnegative_integer("num_classes", num_classes)
        require_levels("num_levels", num_levels)
        require_rate("dropout_rate", dropout_rate)
        parse_conditioning(conditioning)
        require_rate("label_dropout_rate", label_dropout_rate)
        require_nonnegative_number("label_loss_weight", label_loss_weight)
        require_nonnegative_number("unlabelled_weight", unlabelled_weight)
        require_positive_number("initial_temperature", initial_temperature)
        self.num_classes = plain(num_classes)
        self.num_levels = plain(num_levels)
        self.filters = plain(filters)
        self.num_blocks = plain(num_blocks)
        self.num_mixtures = plain(num_mixtures)
        self.head = head
        self.conditioning = conditioning
        self.dropout_rate = plain(dropout_rate)
        self.label_dropout_rate = plain(label_dropout_rate)
        self.label_loss_weight = plain(label_loss_weight)
        self.unlabelled_weight = plain(unlabelled_weight)
        self.initial_temperature = plain(initial_temperature)
        self.learn_temperature = plain(learn_temperature)
        self.learn_offsets = plain(learn_offsets)
        self.distribution = make_head(
            *(head, self.image_shape[-1], self.num_levels, self.num_mixtures),
            tables=self.head_has_tables,
        )

    def _assemble(self, network):
        # In this order: checkpoints number the variables. (Archives name them by classes, too.)
        self.network = network
        hybrid = self.label_loss_weight > 0
        self.posterior = LabelPosterior(
            max(self.num_classes, 1),
            self.initial_temperature,
            learn_temperature=self.learn_temperature and hybrid,
            learn_offsets=self.learn_offsets and hybrid,
            name="posterior",
        )
        self.seed_generator = keras.random.SeedGenerator()
        self.bits_per_dim_metric = keras.metrics.Mean(name="bits_per_dim")
        self.cross_entropy_metric = keras.metrics.Mean(name="cross_entropy")
        self.accuracy_metric = keras.metrics.Mean(name="accuracy")
        self._compares_candidates = False
        self._traced_labels = {}
        # Compiled scorers, samplers and coders, by what they were compiled for. In a namespace:
        # Keras tracks the models in a dict, and saves them with this one.
        self.runners = types.SimpleNamespace(scorers={}, samplers={}, coders={})
        self.build({"image": (None, *self.image_shape), "label": (None, None)})

    @property
    def num_labels(self) -> int:
        """How many labels there are: one more than classes where some pictures had none.

        The label `num_classes` then means "no label".
        """
        return self.num_classes + (self.label_dropout_rate > 0)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of filters at each resolution, highest first."""
        return (self.filters,)

    @property
    def dimensions(self) -> int:
        """Number of sub-pixels of a picture, the divisor of bits per dimension."""
        return int(np.prod(self.image_shape))

    def build(self, input_shape: Any) -> None:
        height, width, channels = self.image_shape
        self.network.build((None, 1, height, width, channels))
        self.posterior.build()
        self.initialized = self.add_weight(
            name="initialized", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    # Network and loss

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> Tensor:
        if not isinstance(inputs, dict) or (self.num_classes and "label" not in inputs):
            images = inputs["image"] if isinstance(inputs, dict) else inputs
            if self.num_classes:
                return self.posterior_tensors(images)["probabilities"]
            inputs = {"image": images}
        require_pictures(inputs["image"], self.image_shape)
        labels = self._candidates(inputs)
        if training and self.label_dropout_rate > 0 and labels is not None:
            labels = self._drop_labels(labels)
        image = logistic_mixture.scale_to_unit(inputs["image"], self.num_levels)
        parameters = self.network(ops.expand_dims(image, 1), labels, training=training)
        if labels is not None and labels.shape[1] != parameters.shape[1]:
            parameters = ops.repeat(parameters, labels.shape[1], axis=1)
        return parameters

    def _candidates(self, inputs):
        """Labels as `(batch, K)`, or `None` for an unconditional model."""
        if self.num_classes == 0:
            return None
        labels = ops.cast(inputs["label"], "int32")
        if self.unlabelled_weight:  # -1 stands for class 0, of a picture that may be of any
            labels = ops.maximum(labels, 0)
        return ops.expand_dims(labels, 1) if len(labels.shape) == 1 else labels

    def _drop_labels(self, labels):
        # A picture loses all its candidates at once: they are then equal, and the cross-entropy
        # sends no gradient into the network.
        shape = (ops.shape(labels)[0], 1)
        dropped = keras.random.uniform(shape, seed=self.seed_generator) < self.label_dropout_rate
        return ops.where(dropped, self.num_classes, labels)

    def log_likelihood(self, parameters: Tensor, images: Tensor) -> Tensor:
        """Sums log p over the pixels: `(batch, K)`, nats.

        Args:
            parameters: Of each pixel, `(batch, K, height, width, num_parameters)`.
            images: Levels `(batch, height, width, channels)`.
        """
        levels = ops.expand_dims(images, 1)
        return ops.sum(self.distribution.log_prob(parameters, levels), axis=(2, 3))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
        **kwargs: Any,
    ) -> Tensor:
        """Bits/dim of the true label, plus the weighted cross-entropy over the candidates.

        Of pictures without a label bits/dim of p(x), of the same parameters.
        """
        log_likelihood = self.log_likelihood(y_pred, x["image"])
        log_prob, weight, of_labelled = log_likelihood[:, 0], sample_weight, sample_weight
        if self.unlabelled_weight and log_likelihood.shape[1] > 1:
            labelled = x["label"][:, 0] >= 0
            log_prob = ops.where(labelled, log_prob, log_marginal(log_likelihood))
            weight = ops.where(labelled, 1.0, self.unlabelled_weight)
            of_labelled = ops.cast(labelled, "float32")
            if sample_weight is not None:
                weight, of_labelled = weight * sample_weight, of_labelled * sample_weight
        bits = logistic_mixture.bits_per_dim(log_prob, self.image_shape)
        self.bits_per_dim_metric.update_state(bits, sample_weight=sample_weight)
        self._compares_candidates = log_likelihood.shape[1] > 1
        if self._compares_candidates:
            logits = self.posterior(log_likelihood, self._candidates(x))
            cross_entropy = ops.logsumexp(logits, axis=1) - logits[:, 0]
            # A tie is no answer: a model that doesn't know the label yet has nothing but ties.
            correct = ops.cast(ops.all(logits[:, :1] > logits[:, 1:], axis=1), "float32")
            self.cross_entropy_metric.update_state(cross_entropy, sample_weight=of_labelled)
            self.accuracy_metric.update_state(correct, sample_weight=of_labelled)
            if self.unlabelled_weight:
                cross_entropy = ops.where(labelled, cross_entropy, 0.0)
            bits = bits + self.label_loss_weight * cross_entropy
        loss = MeanOverBatch()(None, bits, weight)
        if self.losses:  # of regularizers and `add_loss`
            loss = loss + super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss

    def get_metrics_result(self) -> dict[str, float]:
        """The metrics; those over candidates only where there were several."""
        results = super().get_metrics_result()
        if not self._compares_candidates:
            for metric in (self.cross_entropy_metric, self.accuracy_metric):
                results.pop(metric.name, None)
        return results

    # Training

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configures training as `keras.Model.compile`; loss and metrics are the model's own.

        Args:
            optimizer: An optimizer, or its name.
            loss: Not to be given, nor are the three below.
            loss_weights: See `loss`.
            metrics: See `loss`.
            weighted_metrics: See `loss`.
            **kwargs: Other arguments of `keras.Model.compile`.

        Raises:
            ValueError: If a loss or metrics are given.
        """
        given = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        for name, value in given.items():
            if value:
                raise ValueError(
                    f"Invalid argument `{name}`. {type(self).__name__} brings its own loss, bits "
                    "per dimension of the pictures, and its own metrics: leave it out. "
                    f"Received: {name}={value!r}"
                )
        super().compile(optimizer=optimizer, **kwargs)

    def summary(self, *args: Any, expand_nested: bool = False, **kwargs: Any) -> None:
        """Prints the layers, as `keras.Model.summary`.

        Args:
            *args: Those of `keras.Model.summary`.
            expand_nested: Boolean, whether to say what the network is made of, too: its streams,
                their stacks and blocks, each with its number of weights.
            **kwargs: Those of `keras.Model.summary`.

        Example:

        ```python
        model.summary(expand_nested=True)
        ```
        """
        super().summary(*args, **kwargs)
        if expand_nested:
            (kwargs.get("print_fn") or print)("\n".join(_outline(self.network)))

    def compile_from_config(self, config: dict) -> None:
        # Keras calls its own `compile` only.
        self.compile(**keras.saving.deserialize_keras_object(config))
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *args: Any,
        validation_data: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains as `keras.Model.fit`; before the first step, initializes from the first batch.

        Args:
            x: uint8 levels `(N, height, width, channels)`, or a dict of these as `"image"` and of
                the labels as `"label"`; or batches of either: a `tf.data.Dataset`, a
                `keras.utils.PyDataset`, a `torch.utils.data.DataLoader` or a generator.
            y: Int labels `(N,)`, where `x` doesn't hold them. Candidates `(N, K)` belong into the
                dict, the true label first; with all classes and `unlabelled_weight` > 0, -1 in the
                place of 0 comes first where the label isn't known.
            *args: Further arguments of `keras.Model.fit`, in its order.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, a dict as `x`, or batches.
            **kwargs: Further arguments of `keras.Model.fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: If pictures or labels don't fit the model. Of batches, the first is looked
                at, and of the others shape and dtype.
        """
        if is_batched(x) and not isinstance(x, keras.utils.PyDataset):
            kwargs.setdefault("shuffle", False)  # Keras can't, and would warn
        x, y, first = checked_inputs(x, y, self)
        if validation_data is not None:
            validation_data, to_measure = checked_validation_data(validation_data, self)
            self._forget_other_candidates("test_function", to_measure)
        if not self.initialized.numpy():  # int() fails for a variable of tf.distribute
            self.initialize(first["image"], first.get("label"))
        self._forget_other_candidates("train_function", first)
        if "cpu" in device_name():
            keep_freed_memory_unless_told()
        # Keras would build it while tracing the first step, and then trace that step again.
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.trainable_variables)
        with warnings.catch_warnings():
            # Without candidates there is no use for the temperature and offsets of the posterior.
            warnings.filterwarnings("ignore", message="Gradients do not exist")
            return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measures bits/dim, and with K > 1 cross-entropy and accuracy, as `keras.Model.evaluate`.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            *args: Further arguments of `keras.Model.evaluate`, in its order.
            **kwargs: Further arguments of `keras.Model.evaluate`.

        Raises:
            ValueError: As `fit`.
        """
        # Not of `fit`, which has checked its `validation_data` and may have begun to read it.
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y, first = checked_inputs(x, y, self, "evaluate")
            self._forget_other_candidates("test_function", first)
        return super().evaluate(x, y, *args, **kwargs)

    @without_retracing_advice()
    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Class probabilities of pictures, as `keras.Model.predict`.

        Args:
            x: As in `fit`, without labels. (A dict with candidate labels gives the mixture
                parameters of every pixel instead, as a call does.)
            *args: Further arguments of `keras.Model.predict`, in its order.
            **kwargs: Further arguments of `keras.Model.predict`.

        Returns:
            Float32 array `(N, num_classes)`; of an unconditional model, mixture parameters.

        Raises:
            ValueError: If pictures in arrays don't fit the model.
        """
        if not is_batched(x):
            inputs, _, _ = as_inputs(x)
            images = checked_images(inputs["image"], self.image_shape, self.num_levels)
            if not len(images) and self.num_classes:
                return np.zeros((0, self.num_classes), "float32")  # Keras can't tell the shape
            x = {**inputs, "image": images}
        return super().predict(x, *args, **kwargs)

    def train_step(self, *args: Any) -> Any:
        """One step, on a batch in any form that `fit` takes; see `keras.Model`."""
        return super().train_step(*args[:-1], as_inputs(args[-1]))

    def test_step(self, *args: Any) -> Any:
        """One step of `evaluate`; see `keras.Model`."""
        return super().test_step(*args[:-1], as_inputs(args[-1]))

    def _forget_other_candidates(self, function, first):
        # Given other shapes, TensorFlow would trace once more for labels of unknown rank.
        if self.num_classes:
            shape = np.shape(first.get("label"))[1:]
            if self._traced_labels.setdefault(function, shape) != shape:
                self._traced_labels[function] = shape
                setattr(self, function, None)

    def initialize(self, images: np.ndarray, labels: ArrayLike | None = None) -> None:
        """Sets gains and biases from one batch of data (weight normalization), once.

        Args:
            images: uint8 levels `(batch, height, width, channels)`.
            labels: Int `(batch,)` or `(batch, K)`, of which the true label is used.
        """
        images = checked_images(images, self.image_shape, self.num_levels)
        inputs = {"image": ops.convert_to_tensor(images)}
        if self.num_classes:
            labels = np.asarray(labels)
            # Its first candidate for a picture without a label: gains and biases mind little.
            labels = np.maximum(labels[:, 0], 0) if labels.ndim == 2 else labels
            labels = checked_labels(labels, len(images), self.num_labels)
            inputs["label"] = ops.convert_to_tensor(labels)
        with data_dependent_initialization(self.network):
            self(inputs)
        self.initialized.assign(1)

    # Scoring

    def log_prob(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Log-likelihood log p(x | y) of each picture under its label.

        Args:
            images: uint8 levels `(N, height, width, channels)`.
            labels: Int `(N,)`; `num_classes` means "no label".
            batch_size: Integer, pictures at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N,)`, nats.

        Raises:
            ValueError: If pictures or labels don't fit the model.
        """
        inputs = {"image": checked_images(images, self.image_shape, self.num_levels)}
        if self.num_classes:
            inputs["label"] = checked_labels(labels, len(inputs["image"]), self.num_labels)
        return self._score(inputs, batch_size, verbose)[:, 0]

    def class_log_likelihoods(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        known_rows: ArrayLike | None = None,
    ) -> np.ndarray:
        """Log-likelihood log p(x | y) of each picture, or of its first rows, under every class.

        Args:
            images: uint8 levels `(N, height, width, channels)`.
            batch_size: Integer, pictures at a time.
            verbose: As in `keras.Model.predict`.
            known_rows: Integer from 0 to the height: of so many rows; or a sequence of M of these.
                A model that goes from left to right and down knows the law of the first rows
                exactly, and all of them from one pass. `None` for the whole picture.

        Returns:
            Float32 array `(N, num_classes)`, nats; `(N, M, num_classes)` for a sequence.

        Raises:
            ValueError: If the pictures don't fit the model, or there are no such rows.
        """
        if not self.num_classes:
            raise ValueError("`class_log_likelihoods` needs classes; this model knows none.")
        images = checked_images(images, self.image_shape, self.num_levels)
        labels = np.tile(np.arange(self.num_classes, dtype="int32"), (len(images), 1))
        inputs = {"image": images, "label": labels}
        if known_rows is None:
            return self._score(inputs, batch_size, verbose)
        known_rows = checked_rows(known_rows, self.image_shape[0])
        by_row = np.moveaxis(self._score(inputs, batch_size, verbose, per="row"), 1, 2)
        # Of many rows, in float64: the sum up to a row must not depend on those after it.
        above = np.cumsum(by_row, axis=1, dtype="float64")
        above = np.concatenate([np.zeros_like(above[:, :1]), above], axis=1)
        return above[:, known_rows].astype("float32")

    def class_probabilities(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        known_rows: ArrayLike | None = None,
    ) -> np.ndarray:
        """Posterior p(y | x) by Bayes' rule, of the whole picture or of its first rows.

        Args:
            images: As in `class_log_likelihoods`, and so the others. What is below the known rows
                makes no difference.
            batch_size: Integer.
            verbose: 0, 1 or 2.
            known_rows: Integer, or a sequence of M. Nothing known, 0, gives the prior: equally
                likely classes, or the softmax of the offsets where training learned some, which it
                fitted to whole pictures.

        Returns:
            Float32 array `(N, num_classes)`; `(N, M, num_classes)` for a sequence.

        Example:

        ```python
        model.class_probabilities(images, known_rows=8)                    # (N, num_classes)
        model.class_probabilities(images, known_rows=range(height + 1))    # from one pass
        ```
        """
        scores = self.class_log_likelihoods(images, batch_size, verbose, known_rows)
        return self.posterior.probabilities(scores)

    def bits_per_dim(
        self, images: np.ndarray, batch_size: int = 32, verbose: int | str = 0
    ) -> np.ndarray:
        """Bits/dim of p(x), the mean of p(x | y) over equally likely classes: array `(N,)`."""
        if self.num_classes == 0:
            log_likelihood = self.log_prob(images, None, batch_size, verbose)
        else:
            log_likelihood = log_marginal(self.class_log_likelihoods(images, batch_size, verbose))
        return logistic_mixture.bits_per_dim(log_likelihood, self.image_shape)

    def evidence_map(
        self,
        images: np.ndarray,
        labels: ArrayLike,
        against: ArrayLike,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Where in a picture the decision for one class and against another comes from.

        For each pixel i, in raster order, all its channels together,

            log p(x_i | x_<i, y) - log p(x_i | x_<i, y')

        The sum over a picture is log p(x | y) - log p(x | y'): the evidence of the whole picture,
        which the posterior multiplies with its temperature before it adds the offsets.

        Args:
            images: uint8 levels `(N, height, width, channels)`.
            labels: Int `(N,)`, the classes y; `num_classes` means "no label".
            against: Int `(N,)`, the classes y'.
            batch_size: Integer, pictures at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N, height, width)`, nats; positive where a pixel speaks for y.

        Raises:
            ValueError: If pictures or labels don't fit the model, or it knows no classes.

        Example:

        ```python
        evidence = model.evidence_map(images, labels, (labels + 1) % model.num_classes)
        evidence.sum(axis=(1, 2))      # log_prob(images, labels) - log_prob(images, …)
        ```
        """
        if not self.num_classes:
            raise ValueError("`evidence_map` compares classes, and this model knows none.")
        images = checked_images(images, self.image_shape, self.num_levels)
        candidates = [
            checked_labels(given, len(images), self.num_labels) for given in (labels, against)
        ]
        inputs = {"image": images, "label": np.stack(candidates, axis=1)}
        scores = self._score(inputs, batch_size, verbose, per="pixel")
        return scores[:, 0] - scores[:, 1]

    def _score(self, inputs, batch_size, verbose, per="picture"):
        if len(inputs["image"]) == 0:
            candidates = inputs["label"].shape[1:] if "label" in inputs else ()
            place = self.image_shape[: ("picture", "row", "pixel").index(per)]
            return np.zeros((0, *(candidates or (1,)), *place), "float32")
        require_positive_integer("batch_size", batch_size)
        # One for each number of candidates: TensorFlow would trace again for unknown shapes.
        candidates = np.shape(inputs.get("label"))[1:]
        batch_size = self._bounded(batch_size, *candidates)
        # As many batches, but alike, so that there is little to fill up.
        count = len(inputs["image"])
        batch_size = math.ceil(count / math.ceil(count / batch_size))
        kind = (per, candidates)
        scorers = self.runners.scorers
        if kind not in scorers:
            scorers[kind] = LogLikelihood(self, per)
        batches = ArrayBatches(inputs, batch_size)
        verbose = verbosity(verbose, len(batches))
        return scorers[kind].predict(feed(batches), verbose=verbose)[:count]

    def _bounded(self, batch_size, num_candidates=1):
        """A batch size whose features, of all candidates together, need a gigabyte or so."""
        height, width, _ = self.image_shape
        features = height * width * max(self.widths) * num_candidates
        return min(batch_size, max(1, MOST_FEATURES // features))

    # Drawing

    def sample(
        self,
        labels: ArrayLike,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Draws pictures of the given classes.

        Args:
            labels: Int `(N,)`; `num_classes` means "no label". An integer N for an unconditional
                model.
            seed: Integer >= 0: seed and position in `labels` determine a picture, whatever the
                batch size. `None`: other pictures at each call. (A SavedModel draws its noise in
                the graph, so that one seed gives other pictures there.)
            temperature: Number > 0; below 1, safer and smoother pictures.
            guidance: Number >= 0, the `w` of `p(x | y)**(1 + w) / p(x)**w`; needs a model trained
                with label dropout.
            batch_size: Integer, pictures at a time, which bounds the memory.
            verbose: 0, 1 (progress bar) or `"auto"`: 1 at a terminal, of more than one batch.

        Returns:
            uint8 levels `(N, height, width, channels)`.

        Raises:
            ValueError: If an argument is out of range.
        """
        inputs, count = self._to_draw(labels)
        return draw(self, inputs, count, seed, temperature, guidance, batch_size, verbose)

    def draw_rows(
        self,
        labels: ArrayLike,
        images: np.ndarray | None = None,
        known_rows: ArrayLike = 0,
        *,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Draws pictures, or completes them, and shows them as they grow.

        The last are those that `sample` and `complete` draw with the same seed, up to rounding.
        Whoever asks for no more rows stops the drawing.

        Args:
            labels: As in `sample`.
            images: uint8 levels `(N, height, width, channels)` to complete, or `None`.
            known_rows: As in `complete`.
            seed: As in `sample`, and so the others.
            temperature: Number > 0.
            guidance: Number >= 0.

        Returns:
            Generator of pairs: how many rows are done, in steps of `2 ** (num_resolutions - 1)`,
            and uint8 levels `(N, height, width, channels)`, zeros below these rows.

        Raises:
            ValueError: If an argument is out of range.

        Example:

        ```python
        for rows, levels in model.draw_rows([0, 1, 2], seed=0):
            show(levels[:, :rows])
        ```
        """
        inputs, count = self._to_draw(labels)
        if count == 0:
            raise ValueError(
                "Invalid value for argument `labels`. Expected at least one. Received: none"
            )
        if images is None:
            images = np.zeros((count, *self.image_shape), "uint8")
        images = checked_images(images, self.image_shape, self.num_levels)
        if len(images) != count:
            raise ValueError(
                "Invalid value for argument `images`. Expected as many pictures as labels. "
                f"Received: {len(images)} pictures, {count} labels"
            )
        known = known_pixels(known_rows, count, self.image_shape)
        inputs |= {"image": images, "known": known}
        return draw_rows(self, inputs, count, seed, temperature, guidance)

    def _to_draw(self, labels):
        """The checked labels as inputs of a sampler, and how many pictures they ask for."""
        if self.num_classes:
            labels = checked_labels(labels, np.size(labels), self.num_labels)
            return {"label": labels}, len(labels)
        require_positive_integer("labels", labels)
        return {}, labels

    def complete(
        self,
        images: np.ndarray,
        known_rows: ArrayLike,
        labels: ArrayLike | None = None,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Continues pictures whose first rows or pixels are given.

        Args:
            images: uint8 levels `(N, height, width, channels)`; what isn't known is ignored.
            known_rows: Integer, so many rows are kept; or a boolean mask `(height, width)` or `(N,
                height, width)` whose known pixels precede all others in raster order.
            labels: Int `(N,)`, not for an unconditional model.
            seed: As in `sample`, and so the others.
            temperature: Number > 0.
            guidance: Number >= 0.
            batch_size: Integer.
            verbose: 0, 1 or `"auto"`.

        Returns:
            uint8 levels `(N, height, width, channels)`, equal to `images` where known.

        Raises:
            ValueError: If an argument is out of range.
        """
        images = checked_images(images, self.image_shape, self.num_levels)
        known = known_pixels(known_rows, len(images), self.image_shape)
        inputs = {"image": images, "known": known}
        if self.num_classes:
            inputs["label"] = checked_labels(labels, len(images), self.num_labels)
        return draw(self, inputs, len(images), seed, temperature, guidance, batch_size, verbose)

    # Compressing

    def compress(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> bytes:
        """Compresses pictures without loss, to about -log2 p(x | y) bits each.

        They are decoded and compared before this returns. `decompress` needs this model, with these
        weights, under the same backend, and floats that round as they do here: those of another
        machine or version may not, and then it refuses.

        Args:
            images: uint8 levels `(N, height, width, channels)`.
            labels: Int `(N,)`, coded too; `num_classes` means "no label". `None`: the class that
                makes each picture shortest.
            batch_size: Integer from 1 to 1024, pictures at a time, as `decompress` will have them.
            verbose: 0, 1 (progress bar) or `"auto"`: 1 at a terminal, after three seconds.

        Returns:
            Bytes. Beside the pictures: some hundred of them, and 4 a picture, its checksum.

        Raises:
            ValueError: If an argument doesn't fit the model.
            UserError: If constriction (the extra `codec`) is not installed.

        Example:

        ```python
        data = model.compress(images)
        8 * len(data) / images.size              # about model.bits_per_dim(images).mean()
        (model.decompress(data) == images).all()     # True
        ```

        Reference:
            Bamler 2022, constriction, https://arxiv.org/abs/2201.01741
        """
        return compress_pictures(self, images, labels, None, batch_size, verbose).data

    def decompress(self, data: bytes, verbose: int | str = "auto") -> np.ndarray:
        """Gives back the pictures that `compress` was given.

        Args:
            data: Bytes that `compress` returned.
            verbose: As in `compress`.

        Returns:
            uint8 levels `(N, height, width, channels)`.

        Raises:
            UserError: If they are damaged, or this model, backend, version or machine is not that
                which compressed them: there are never wrong pictures.
        """
        return decompress_pictures(self, data, verbose)[0]

    # Tensors, for export

    def log_prob_tensors(self, images: Tensor, labels: Tensor) -> Tensor:
        """`log_prob` for tensors: uint8 `(batch, height, width, channels)`, int `(batch,)`."""
        parameters = self({"image": images, "label": labels}, training=False)
        return self.log_likelihood(parameters, images)[:, 0]

    def posterior_tensors(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of a tensor of pictures under all classes.

        Args:
            images: uint8 levels `(batch, height, width, channels)`.

        Returns:
            Dict of `"log_likelihood"` `(batch, num_classes)` in nats, `"probabilities"` `(batch,
            num_classes)` and `"bits_per_dim"` `(batch,)` of p(x).
        """
        labels = ops.tile(ops.arange(self.num_classes)[None], (ops.shape(images)[0], 1))
        parameters = self({"image": images, "label": labels}, training=False)
        log_likelihood = self.log_likelihood(parameters, images)
        marginal = log_marginal(log_likelihood)
        return {
            "log_likelihood": log_likelihood,
            "probabilities": ops.softmax(self.posterior.class_logits(log_likelihood), axis=-1),
            "bits_per_dim": logistic_mixture.bits_per_dim(marginal, self.image_shape),
        }

    def sample_tensors(self, labels: Tensor, noise: Tensor, temperature: Tensor) -> Tensor:
        """`sample` for tensors, for export: uint8 `(batch, height, width, channels)`.

        Args:
            labels: int32 `(batch,)`.
            noise: Uniform float32 in (0, 1), `(batch, height, width, noise_size)`; `noise_size` is
                that of `model.distribution`.
            temperature: Float32 `(batch,)`.
        """
        inputs = {"label": labels, "noise": noise, "temperature": temperature}
        return PixelSampler(self)(inputs)

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",  # noqa: A002
        *,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Writes a SavedModel that classifies, scores and draws without this package.

        Its endpoints are those of `pixelcnnpp savedmodel export`: see
        `export.endpoints.export_saved_model`.

        Args:
            filepath: The folder to write: new, empty, or a SavedModel, which is replaced.
            format: `"tf_saved_model"`; there is no other.
            class_names: The name of each class; by default `Class0`, `Class1` and so on.

        Raises:
            UserError: Under another backend than TensorFlow, for another format or a folder of
                something else, or for a model that cannot be exported: without labels, or not of 1
                or 3 channels.

        Example:

        ```python
        model.export("savedmodel/1", class_names=["panda", "koala"])
        SavedModelClassifier("savedmodel").predict(images)
        ```
        """
        if format != "tf_saved_model":
            raise UserError(
                "Invalid value for argument `format`. Expected 'tf_saved_model': other formats "
                f"cannot hold the endpoint that draws. Received: format={format!r}"
            )
        if keras.backend.backend() != "tensorflow":
            raise UserError(
                "A SavedModel is exported under the TensorFlow backend, and this process runs "
                f'{keras.backend.backend()}. Save the model with `model.save("model.keras")`, '
                "load it in a process with KERAS_BACKEND=tensorflow and export it there."
            )
        # Here: TensorFlow is there under its own backend only.
        from keras_pixelcnnpp.export.endpoints import export_saved_model

        export_saved_model(self, filepath, class_names)

    # Presets and configuration

    @classmethod
    def from_preset(
        cls, preset: str | Path, load_weights: bool | None = None, **kwargs: Any
    ) -> Self:
        """Creates a model from a preset, with weights where the preset has them.

        Args:
            preset: Name of a built-in preset, or path of a folder written by `save_to_preset`.
            load_weights: Boolean; `None` loads them if there are any.
            **kwargs: Constructor arguments that replace the preset's. With another `num_classes`,
                all weights but those of the labels are kept; a warning names what is new.

        Returns:
            A model.

        Raises:
            UserError: If there is no such preset, it is of another architecture, or its files are
                damaged or without the weights that were asked for.

        Example:

        >>> model = PixelCNNPlusPlus.from_preset("report")
        >>> model.image_shape, model.num_classes
        ((32, 32, 3), 4)
        """
        folder = PresetFolder.find(preset)
        if folder.architecture != cls.architecture:
            raise UserError(
                f"{preset} is a preset of another architecture. Expected: {cls.architecture}. "
                f"Received: {folder.architecture}"
            )
        model = folder.make(cls, **kwargs)
        if folder.has_weights if load_weights is None else load_weights:
            folder.load_weights(model, **kwargs)
        return model

    def save_to_preset(
        self, path: str | Path, training: dict | None = None, metadata: dict | None = None
    ) -> None:
        """Writes the model as a preset: a folder that `from_preset` reads.

        Args:
            path: The folder; created if need be.
            training: Optional dict, the training options that belong to it.
            metadata: Optional dict of facts about data, budget and metrics.
        """
        model = {
            name: value
            for name, value in self.get_config().items()
            if name not in ("name", "trainable", "dtype")
        }
        config = {"model": model, "training": training or {}, "architecture": self.architecture}
        # A copy has no optimizer, whose moments and averages would make the file four times larger.
        copy = type(self).from_config(self.get_config())
        copy.set_weights(self.get_weights())
        PresetFolder(path).write(copy, config, metadata or {})

    def get_config(self) -> dict:
        config = super().get_config()
        config.update(
            {
                "image_shape": self.image_shape,
                "num_classes": self.num_classes,
                "num_levels": self.num_levels,
                "filters": self.filters,
                "num_blocks": self.num_blocks,
                "num_mixtures": self.num_mixtures,
                "head": self.head,
                "conditioning": self.conditioning,
                "dropout_rate": self.dropout_rate,
                "label_dropout_rate": self.label_dropout_rate,
                "label_loss_weight": self.label_loss_weight,
                "unlabelled_weight": self.unlabelled_weight,
                "initial_temperature": self.initial_temperature,
                "learn_temperature": self.learn_temperature,
                "learn_offsets": self.learn_offsets,
            }
        )
        return config


def _outline(layer, depth=0):
    """A line for a layer and for each within it that has weights, further in."""
    name = f"{'  ' * depth}{layer.name} ({type(layer).__name__})"
    yield f"{name:60} {layer.count_params():12,}"
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        if inner.weights:
            yield from _outline(inner, depth + 1)
