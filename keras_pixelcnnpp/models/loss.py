"""The loss of a batch: bits per dimension, and the cross-entropy among labels."""

from typing import TYPE_CHECKING

import keras
from keras import ops

from keras_pixelcnnpp.conditions import Values
from keras_pixelcnnpp.conditions.classes import choose_classes, class_of, with_classes
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.metrics import MeanOverBatch
from keras_pixelcnnpp.utils.backend import Tensor

if TYPE_CHECKING:  # a model imports this file
    from keras_pixelcnnpp.models.trainable import TrainableModel


def batch_loss(
    model: "TrainableModel",
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
    values, valid = model.encoder.targets(y, ops.shape(images)[0])
    labels = class_of(values)
    valid = valid & (labels >= (model.lowest_training_label if training else model.lowest_label))
    labeled, true = labels >= 0, ops.maximum(labels, 0)
    if training:
        log_likelihood, logits = _compare_candidates(model, images, values, true)
        position = None  # the true class is the first candidate
    else:
        log_likelihood = y_pred
        logits = model.posterior(y_pred) if y_pred.shape[1] > 1 else None
        position = true
    log_prob = ops.where(labeled, _entry(log_likelihood, position), log_marginal(log_likelihood))
    losses = _bits(model, ops.where(valid, log_prob, float("nan")), given)
    if logits is not None:
        logits = ops.where(valid[:, None], logits, float("nan"))
        # Unlabeled images have no cross-entropy, and the weight 0 in its metrics.
        of_labeled = given * ops.cast(labeled, "float32")
        cross_entropy = _cross_entropy(model, logits, position, of_labeled)
        scale = model.weight_in_training if training else model.label_loss_weight
        losses = losses + scale * ops.where(labeled, cross_entropy, 0.0)
    # Evaluation includes unlabeled images even if `unlabeled_weight` is 0.
    weight = given * ops.where(labeled, 1.0, model.unlabeled_weight or 1.0)
    return _mean_loss(model, losses, weight)


def _compare_candidates(
    model: "TrainableModel", images: Tensor, values: Values, true: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Returns log-likelihoods and logits `(batch, K)` of the candidates, for training.

    The first candidate is the true class, int `(batch,)`. The logits are `None` if the loss does
    not compare classes.
    """
    if not model.compares_labels:
        return model.log_likelihood(images, with_classes(values, true[:, None]), True), None
    how = model.num_classes, model.num_compared, model.seed_generator
    classes = choose_classes(true, *how)
    candidates = with_classes(values, classes)
    log_likelihood = model.log_likelihood(images, candidates, True)
    return log_likelihood, model.posterior(log_likelihood, classes)


def _bits(model: "TrainableModel", log_prob: Tensor, weight: Tensor) -> Tensor:
    bits = bits_per_dim(log_prob, model.image_shape)
    model.loss_metrics["bits_per_dim"].update_state(bits, sample_weight=weight)
    return bits


def _cross_entropy(
    model: "TrainableModel", logits: Tensor, position: Tensor | None, weight: Tensor
) -> Tensor:
    """Returns the cross-entropy `(batch,)`, nats, of the label at a position of the logits."""
    true = _entry(logits, position)
    cross_entropy = ops.logsumexp(logits, axis=1) - true
    # Ties count as errors, because a model that does not use the label yet has only ties.
    at_least = ops.sum(ops.cast(logits >= true[:, None], "int32"), axis=1)
    correct = ops.where(ops.isnan(true), true, ops.cast(at_least == 1, "float32"))
    model.loss_metrics["cross_entropy"].update_state(cross_entropy, sample_weight=weight)
    model.loss_metrics["accuracy"].update_state(correct, sample_weight=weight)
    return cross_entropy


def _mean_loss(model: "TrainableModel", losses: Tensor, weight: Tensor) -> Tensor:
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
