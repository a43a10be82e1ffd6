"""Metrics and means that the models share: of labels, and of losses of each image."""

from typing import Any

import keras
from keras import metrics, ops

from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.errors import UserError


class MeanOverBatch(keras.losses.Loss):
    """Averages losses `y_pred`, which are already computed for each image.

    Weighted losses are divided by the number of images, not by the sum of the weights. Unlike
    `ops.mean`, it also divides by the number of replicas, whose gradients `tf.distribute` adds.
    """

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred


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


# Keras's classes that compare values of an unknown kind, or that take predicted classes.
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
