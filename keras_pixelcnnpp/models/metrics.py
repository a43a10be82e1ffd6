"""Means that the models share, of losses and metrics of each image."""

import inspect
from typing import Any

import keras
from keras import metrics, ops

from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.distribution import has_replicas, share_of_batch
from keras_pixelcnnpp.utils.errors import UserError


class MeanOverBatch(keras.losses.Loss):
    """Averages losses `y_pred`, which are already computed for each image.

    Weighted losses are divided by the number of images, not by the sum of the weights. Unlike
    `ops.mean`, it also divides by the number of replicas, whose gradients `tf.distribute` adds.
    If the replicas have different numbers of images, the sum is still the gradient of the mean
    over the batch.
    """

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if not has_replicas():
            return y_pred
        share = share_of_batch(ops.shape(y_pred)[0])
        # The value stays the mean over the images of the replica, of which Keras logs the mean over
        # the batch.
        return share * y_pred + ops.stop_gradient((1 - share) * y_pred)


class MeanMetric(metrics.Mean):
    """`keras.metrics.Mean` whose result is NaN instead of 0 if it has received no values.

    Args:
        name: String, the name in logs.
        mode: `"min"` or `"max"`, whether lower or higher values are better, as in callbacks such
            as `keras.callbacks.EarlyStopping`.
    """

    def __init__(self, name: str, mode: str = "min", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.mode = mode

    def result(self) -> Tensor:
        return ops.where(self.count > 0, super().result(), float("nan"))


def require_integer_labels(metric: Any) -> None:
    """Raises a `UserError` for a metric of Keras that compares labels other than integers.

    Keras broadcasts integers `(N,)` or `(N, 1)` against probabilities `(N, num_classes)`, so such a
    metric may give a number. Metrics and functions that are not Keras's own are accepted.

    Args:
        metric: A `keras.metrics.Metric`, a function, or the name of one.
    """
    if metric in ("accuracy", "acc"):  # names for which Keras chooses a metric by the labels
        return
    metric = metrics.get(metric)
    kind = metric if inspect.isfunction(metric) else type(metric)
    name = kind.__name__
    is_general = kind in (metrics.Mean, metrics.Sum, metrics.MeanMetricWrapper)
    if is_general or not kind.__module__.startswith("keras."):
        return
    of_integers = getattr(metric, "sparse_y_true", False) and not metric.sparse_y_pred
    if of_integers or name.lower().startswith("sparse"):
        return
    same = f"sparse_{name}" if inspect.isfunction(metric) else f"Sparse{name}"
    if hasattr(metrics, same):
        advice = f"Expected keras.metrics.{same}"
    elif hasattr(metric, "sparse_y_true"):
        advice = "Expected sparse_y_true=True and sparse_y_pred=False"
    else:
        names = [name for name in dir(metrics) if name.startswith("Sparse")]
        advice = (
            f"Expected 'accuracy', {', '.join(names)}, or a metric of your own. Others can be "
            "computed from model.class_probabilities(images), for example by scikit-learn"
        )
    raise UserError(
        "Metrics receive integer labels (N,) and probabilities (N, num_classes). "
        f"{advice}. Received: {name}, which compares other values"
    )
