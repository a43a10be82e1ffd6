"""Means that the models share, of losses and metrics of each image."""

from typing import Any

import keras
from keras import metrics, ops

from keras_pixelcnnpp.utils.backend import Tensor


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
