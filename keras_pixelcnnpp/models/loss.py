"""Loss of the autoregressive models: bits per dimension and cross-entropy among labels."""

import contextvars

import keras
from keras import ops

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.scoring import class_scores

# Probabilities and likelihoods of the last call in this thread. Keras passes only the probabilities
# to `compute_loss`, which also needs the likelihoods.
last_output = contextvars.ContextVar("last_output", default=(None, None))


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
    if not model.num_classes:
        log_prob = model.log_likelihood(images, None, True)[:, 0] if training else y_pred
        return _mean_loss(model, _bits(model, log_prob, given), given)
    lowest = model._lowest_training_label if training else model._lowest_label
    labels, valid = model.targets(y, lowest)
    labeled = labels >= 0
    compare = _compare_candidates if training else _compare_classes
    log_likelihood, logits, position = compare(model, images, y_pred, ops.maximum(labels, 0))
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
    model: keras.Model, images: Tensor, y_pred: Tensor, true: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Returns log-likelihoods and logits `(batch, K)` of the candidates, for training.

    The third value is the position of the true label among them, int `(batch,)`, or `None` for the
    first position. The logits are `None` if the loss has no cross-entropy.
    """
    alone = model._likelihood_only and not model.unlabeled_weight
    if alone or not model._compares_labels:
        return model.log_likelihood(images, true[:, None], True), None, None
    candidates = choose_candidates(
        true, model._num_candidates, model.num_classes, model.seed_generator
    )
    log_likelihood = model.log_likelihood(images, candidates, True)
    if model._likelihood_only:
        return log_likelihood, None, None
    return log_likelihood, model.posterior(log_likelihood, candidates), None


def _compare_classes(
    model: keras.Model, images: Tensor, y_pred: Tensor, true: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Compares all classes, for evaluation, and reuses the last call if `y_pred` is its output."""
    probabilities, log_likelihood = last_output.get()
    last_output.set((None, None))
    if y_pred is not probabilities:
        log_likelihood = class_scores(model, images)
    logits = model.posterior(log_likelihood) if model.num_classes > 1 else None
    return log_likelihood, logits, true


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


def choose_candidates(
    labels: Tensor, count: int, num_classes: int, seed_generator: keras.random.SeedGenerator
) -> Tensor:
    """Returns each label followed by `count - 1` different random labels.

    Args:
        labels: Int tensor `(batch,)`, from 0 to `num_classes - 1`.
        count: Integer, number of candidates of an image. If it is `num_classes`, the candidates are
            all classes, and no random numbers are used.
        num_classes: Integer, number of classes.
        seed_generator: `keras.random.SeedGenerator`.

    Returns:
        Int tensor `(batch, count)`.
    """
    true = labels[:, None]
    if count == num_classes:
        others = (true + ops.arange(1, count, dtype="int32")) % count
    else:
        scores = keras.random.uniform((ops.shape(true)[0], num_classes), seed=seed_generator)
        scores = ops.where(true == ops.arange(num_classes, dtype="int32"), -1.0, scores)
        others = ops.cast(ops.top_k(scores, count - 1)[1], "int32")
    return ops.concatenate([true, others], axis=1)


class MeanOverBatch(keras.losses.Loss):
    """Averages losses `y_pred`, which are already computed for each image.

    Weighted losses are divided by the number of images, not by the sum of the weights. Unlike
    `ops.mean`, it also divides by the number of replicas, whose gradients `tf.distribute` adds.
    """

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred


class MeanMetric(keras.metrics.Mean):
    """`keras.metrics.Mean` whose result is NaN instead of 0 if it has received no values."""

    def result(self) -> Tensor:
        return ops.where(self.count > 0, super().result(), float("nan"))
