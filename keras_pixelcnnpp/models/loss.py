"""Loss and metrics of the models: bits per dimension, cross-entropy among labels."""

from typing import Any

import keras
from keras import metrics, ops

from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.layers.conditions import UNLABELED
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.errors import UserError


def batch_loss(
    model: keras.Model,
    images: Tensor,
    y: Tensor | None,
    y_pred: Tensor,
    sample_weight: Tensor | None,
    training: bool,
) -> Tensor:
    """Computes the scalar loss of a batch; see `AutoregressiveModel.compute_loss`."""
    if sample_weight is None:
        sample_weight = ops.ones((ops.shape(images)[0],))
    # Class weights from NumPy arrive as float64.
    given = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
    if not model.conditions.are_labels:
        # Where p(x) is not a mean over candidates, `call` returns no log-likelihoods.
        values = model.conditions.targets(y)
        is_scored = not training and model.conditions.num_candidates
        log_likelihood = y_pred if is_scored else model.log_likelihood(images, values, training)
        log_prob = log_likelihood[:, 0]
        if values is None and y is not None:
            log_prob = ops.where(model.targets(y, UNLABELED)[1], log_prob, float("nan"))
        return _mean_loss(model, _bits(model, log_prob, given), given)
    lowest = model._lowest_training_label if training else model._lowest_label
    labels, valid = model.targets(y, lowest)
    labeled, true = labels >= 0, ops.maximum(labels, 0)
    if training:
        log_likelihood, logits, position = _compare_candidates(model, images, true)
    else:
        logits = None if model.conditions.is_constant else model.posterior(y_pred)
        log_likelihood, position = y_pred, true
    log_prob = ops.where(labeled, _entry(log_likelihood, position), log_marginal(log_likelihood))
    losses = _bits(model, ops.where(valid, log_prob, float("nan")), given)
    if logits is not None:
        logits = ops.where(valid[:, None], logits, float("nan"))
        # Unlabeled images have no cross-entropy, and the weight 0 in its metrics.
        of_labeled = given * ops.cast(labeled, "float32")
        cross_entropy = _cross_entropy(model, logits, position, of_labeled)
        losses = losses + model.label_loss_weight * ops.where(labeled, cross_entropy, 0.0)
    # Evaluation includes unlabeled images even if `unlabeled_weight` is 0.
    weight = given * ops.where(labeled, 1.0, model.unlabeled_weight or 1.0)
    return _mean_loss(model, losses, weight)


def _compare_candidates(
    model: keras.Model, images: Tensor, true: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Returns log-likelihoods and logits `(batch, K)` of the candidates, for training.

    The true label is the first candidate, so its position is `None`. The logits are `None` if the
    loss does not compare labels.
    """
    if not model._compares_labels:
        return model.log_likelihood(images, true[:, None], True), None, None
    candidates = model.conditions.choose(true, model._num_candidates, model.seed_generator)
    log_likelihood = model.log_likelihood(images, candidates, True)
    return log_likelihood, model.posterior(log_likelihood, candidates), None


def _bits(model: keras.Model, log_prob: Tensor, weight: Tensor) -> Tensor:
    bits = bits_per_dim(log_prob, model.image_shape)
    model._bits_per_dim_metric.update_state(bits, sample_weight=weight)
    return bits


def _cross_entropy(
    model: keras.Model, logits: Tensor, position: Tensor | None, weight: Tensor
) -> Tensor:
    """Returns the cross-entropy `(batch,)`, nats, of the label at a position of the logits."""
    true = _entry(logits, position)
    cross_entropy = ops.logsumexp(logits, axis=1) - true
    # Ties count as errors, because a model that does not use the label yet has only ties.
    at_least = ops.sum(ops.cast(logits >= true[:, None], "int32"), axis=1)
    correct = ops.where(ops.isnan(true), true, ops.cast(at_least == 1, "float32"))
    model._cross_entropy_metric.update_state(cross_entropy, sample_weight=weight)
    model._accuracy_metric.update_state(correct, sample_weight=weight)
    return cross_entropy


def _mean_loss(model: keras.Model, losses: Tensor, weight: Tensor) -> Tensor:
    loss = MeanOverBatch()(losses, losses, weight)
    # Zero gradients for the posterior without a cross-entropy: Keras warns of missing gradients.
    loss = loss + 0.0 * sum(map(ops.sum, model.posterior.trainable_variables))
    if model.losses:  # from regularizers and `add_loss`
        loss = loss + keras.Model.compute_loss(model)
    return loss


def _entry(x: Tensor, position: Tensor | None) -> Tensor:
    """Returns the entry of each row of `(batch, K)` at a position, by default the first."""
    if position is None:
        return x[:, 0]
    return ops.take_along_axis(x, position[:, None], axis=1)[:, 0]


class MeanOverBatch(keras.losses.Loss):
    """Averages losses `y_pred`, which are already computed for each image.

    Weighted losses are divided by the number of images, not by the sum of the weights. Unlike
    `ops.mean`, it also divides by the number of replicas, whose gradients `tf.distribute` adds.
    """

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred


class MeanMetric(metrics.Mean):
    """`keras.metrics.Mean` whose result is NaN instead of 0 if it has received no values."""

    def result(self) -> Tensor:
        return ops.where(self.count > 0, super().result(), float("nan"))


# Keras's classes whose name does not tell what they compare, or that take predicted classes.
_UNDECIDED = ("Metric", "Mean", "MeanMetricWrapper", "Sum", "Accuracy", "IoU", "MeanIoU")


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class LabelMetric(metrics.Metric):
    """Metric that passes integer labels to another metric, as integers or one-hot.

    Args:
        metric: A `keras.metrics.Metric`.
        sparse: Boolean, whether `metric` takes integers `(batch,)`, or one-hot labels `(batch,
            num_classes)`.
        **kwargs: Arguments of `keras.metrics.Metric`.
    """

    def __init__(self, metric: metrics.Metric, sparse: bool, **kwargs: Any):
        super().__init__(**{"name": metric.name, **kwargs})
        self.metric = metric
        self.sparse = sparse

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        if not self.sparse:
            # Not `ops.one_hot`, which raises an error under torch if a label is out of range.
            classes = ops.arange(y_pred.shape[-1], dtype="int32")
            labels = ops.cast(labels[:, None] == classes, "float32")
        self.metric.update_state(labels, y_pred, sample_weight=sample_weight)

    def result(self) -> Tensor:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()

    def get_config(self) -> dict:
        metric = keras.saving.serialize_keras_object(self.metric)
        return {**super().get_config(), "metric": metric, "sparse": self.sparse}

    @classmethod
    def from_config(cls, config: dict) -> "LabelMetric":
        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})


def label_metric(identifier: Any) -> LabelMetric:
    """Returns a `LabelMetric` for a metric, a function, or the name of one.

    Keras's metrics and functions are recognized. Others have an attribute `sparse`.

    Raises:
        UserError: If the form of the labels cannot be decided.
    """
    if isinstance(identifier, LabelMetric):
        return identifier
    name = identifier if isinstance(identifier, str) else None
    if name in ("accuracy", "acc"):
        return LabelMetric(metrics.SparseCategoricalAccuracy(), True, name=name)
    metric = metrics.get(identifier)
    name = name or getattr(metric, "name", None) or getattr(metric, "__name__", "metric")
    sparse = getattr(metric, "sparse", None)
    if sparse is None:
        sparse = _takes_integers(metric)
    if sparse is None:
        raise UserError(
            f"Cannot decide whether the metric {name!r} compares the class probabilities with "
            "integer labels (batch,) or with one-hot labels (batch, num_classes). Set the "
            "attribute `sparse` of the metric or function to True for integers, or to False. "
            f"Received: {identifier!r:.200}"
        )
    if not isinstance(metric, metrics.Metric):
        metric = metrics.MeanMetricWrapper(metric)
    return LabelMetric(metric, bool(sparse), name=name)


def _takes_integers(metric: Any) -> bool | None:
    """Returns whether a metric or function of Keras takes integer labels, else `None`."""
    kinds = type(metric).__mro__ if isinstance(metric, metrics.Metric) else [metric]
    for kind in kinds:
        name = getattr(kind, "__name__", "")
        if name and getattr(metrics, name, None) is kind:
            return None if name in _UNDECIDED else name.lower().startswith("sparse")
    return None
