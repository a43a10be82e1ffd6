"""Pictures in TensorBoard: what the model is shown, and which classes it confuses."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.callbacks.validation_monitor import ValidationMonitor
from keras_pixelcnnpp.figures import confusion_matrix_png, picture_grid


class TensorBoardPictures(keras.callbacks.Callback):
    """Writes a grid of training pictures, and a confusion matrix after every epoch.

    The writer is TensorFlow's, whatever Keras's backend is.

    Args:
        log_dir: The folder of the logs.
        pixels: uint8 `[count, height, width, channels]`, 0 to 255: training pictures to show.
        monitor: The callback whose predictions are drawn; it must come before this one.
        class_names: The name of each class.
    """

    def __init__(
        self,
        log_dir: str | Path,
        pixels: np.ndarray,
        monitor: ValidationMonitor,
        class_names: Sequence[str],
    ):
        super().__init__()
        self.log_dir = str(log_dir)
        self.pixels = pixels
        self.monitor = monitor
        self.class_names = class_names
        self._writer = None

    def on_train_begin(self, logs=None):
        """Called by Keras."""
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
            self._write("training pictures", picture_grid(self.pixels), step=0)

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        import tensorflow as tf

        if self.monitor.predicted is None:
            return
        png = confusion_matrix_png(
            self.monitor.labels, self.monitor.predicted, self.class_names, f"epoch {epoch + 1}"
        )
        self._write("confusion matrix", tf.image.decode_png(png, channels=3).numpy(), epoch)

    def _write(self, name: str, picture: np.ndarray, step: int) -> None:
        import tensorflow as tf

        with self._writer.as_default():
            tf.summary.image(name, picture[np.newaxis], step=step)
        self._writer.flush()
