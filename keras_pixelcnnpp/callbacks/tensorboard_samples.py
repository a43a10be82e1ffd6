"""Generated pictures in TensorBoard."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.callbacks.averaged_weights import averaged_weights
from keras_pixelcnnpp.generation.class_samples import ClassSamples


class TensorBoardSamples(keras.callbacks.Callback):
    """Writes a grid of generated pictures for each class, every few epochs.

    They are drawn with the averaged weights, and from the same random numbers every time, so that
    one sees how the same pictures change.

    The writer is TensorFlow's, whatever Keras's backend is.

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
        self.log_dir = str(log_dir)
        self.class_names = class_names
        self.every = every
        self.per_class = per_class
        self._writer = None

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if (epoch + 1) % self.every:
            return
        with averaged_weights(self.model):
            samples = ClassSamples.draw(self.model, self.class_names, self.per_class, verbose=0)
        for name, grid in samples.grids().items():
            self._write(f"samples/{name}", grid, epoch)

    def _write(self, name: str, picture: np.ndarray, step: int) -> None:
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default():
            tf.summary.image(name, picture[np.newaxis], step=step)
        self._writer.flush()
