"""Generated pictures in TensorBoard."""

from collections.abc import Sequence
from pathlib import Path

import keras

from keras_pixelcnnpp.callbacks.averaged_weights import averaged_weights
from keras_pixelcnnpp.callbacks.summary_writer import SummaryWriter
from keras_pixelcnnpp.generation.class_samples import ClassSamples


class TensorBoardSamples(keras.callbacks.Callback):
    """Writes a grid of generated pictures for each class, every few epochs.

    They are drawn with the averaged weights, and from the same random numbers every time, so that
    one sees how the same pictures change.

    Args:
        log_dir: The folder of these logs; no other writer may use it.
        class_names: The name of each class.
        every: Integer, the number of epochs from one grid to the next.
        per_class: Integer, the number of pictures of each class.
    """

    def __init__(
        self, log_dir: str | Path, class_names: Sequence[str], every: int, per_class: int = 9
    ):
        super().__init__()
        self.class_names = class_names
        self.every = every
        self.per_class = per_class
        self._writer = SummaryWriter(log_dir)

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if (epoch + 1) % self.every:
            return
        with averaged_weights(self.model):
            samples = ClassSamples.draw(self.model, self.class_names, self.per_class, verbose=0)
        for name, grid in samples.grids().items():
            self._writer.image(f"samples/{name}", grid, epoch)
