"""Pictures in TensorBoard: what the model is shown, and which classes it confuses."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.callbacks.summary_writer import SummaryWriter
from keras_pixelcnnpp.callbacks.validation_monitor import ValidationMonitor
from keras_pixelcnnpp.classification.figures import confusion_matrix_png
from keras_pixelcnnpp.figures import picture_grid, png_pixels


class TensorBoardPictures(keras.callbacks.Callback):
    """Writes a grid of training pictures, and a confusion matrix after every epoch.

    Args:
        log_dir: The folder of these logs; no other writer may use it.
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
        self.pixels = pixels
        self.monitor = monitor
        self.class_names = class_names
        self._writer = SummaryWriter(log_dir)
        self._shown = False

    def on_train_begin(self, logs=None):
        """Called by Keras, once for each phase of the training."""
        if not self._shown:
            self._writer.image("training pictures", picture_grid(self.pixels), step=0)
            self._shown = True

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if self.monitor.predicted is None:
            return
        png = confusion_matrix_png(
            self.monitor.labels, self.monitor.predicted, self.class_names, f"epoch {epoch + 1}"
        )
        self._writer.image("confusion matrix", png_pixels(png), epoch)
