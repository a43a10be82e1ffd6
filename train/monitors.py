"""Measures a model on held-out pictures after every epoch."""

from collections.abc import Callable

import keras
import numpy as np

from keras_pixelcnnpp.callbacks.averaged_weights import averaged_weights, has_averages
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages


class ValidationMonitor(keras.callbacks.Callback):
    """Adds `val_accuracy`, `val_bits_per_dim` and the like to the logs of an epoch.

    It measures with the averaged weights, which are the ones that are kept in the end, and as
    `pixelcnnpp evaluate` does: dropout off, all classes as candidates. Callbacks that use what it
    logs (TensorBoard, the progress bar) must come after it.

    Where there are averaged weights, the raw ones are measured too, every few epochs and after the
    last one, as `val_raw_bits_per_dim` and so on: it costs as much again.

    Args:
        measure: A function of a `LabelledImages` that returns a dictionary of numbers and the
            predicted classes (int `[count]`, or `None` from a model that does not classify).
        validation: The pictures to measure on.
        training: A few training pictures. Their accuracy is logged as `accuracy` where the
            training loop itself knows none, as with one candidate label per picture.
        raw_every: Every how many epochs the raw weights are measured.

    Attributes:
        labels, predicted: The last classification of `validation`, for a confusion matrix.
    """

    def __init__(
        self,
        measure: Callable[[LabelledImages], tuple[dict[str, float], np.ndarray | None]],
        validation: LabelledImages,
        training: LabelledImages | None = None,
        raw_every: int = 5,
    ):
        super().__init__()
        self.measure = measure
        self.validation = validation
        self.training = training
        self.raw_every = raw_every
        self.labels = validation.labels
        self.predicted = None

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        logs = {} if logs is None else logs
        with averaged_weights(self.model):
            measured, self.predicted = self.measure(self.validation)
            logs.update({f"val_{name}": value for name, value in measured.items()})
            if "accuracy" in measured and "accuracy" not in logs and self.training is not None:
                logs["accuracy"] = self.measure(self.training)[0]["accuracy"]
        is_last = epoch + 1 == self.params.get("epochs")
        if has_averages(self.model) and (is_last or (epoch + 1) % self.raw_every == 0):
            measured, _ = self.measure(self.validation)
            logs.update({f"val_raw_{name}": value for name, value in measured.items()})
