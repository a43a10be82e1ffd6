"""Writes what TensorBoard shows."""

from pathlib import Path

import numpy as np


class SummaryWriter:
    """TensorFlow's summary writer, whatever Keras's backend is.

    TensorFlow is imported, and the file made, when something is written.

    Args:
        log_dir: The folder of these logs; no other writer may use it.

    Example:

    ```python
    SummaryWriter("runs/digits/logs/pixelcnnpp/samples").image("samples/koala", pixels, step=4)
    ```
    """

    def __init__(self, log_dir: str | Path):
        self.log_dir = str(log_dir)
        self._writer = None

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Writes a picture, uint8 `[height, width, channels]`, 0 to 255."""
        import tensorflow as tf

        with self._open():
            tf.summary.image(name, pixels[np.newaxis], step=step)
        self._writer.flush()

    def scalar(self, name: str, value: float, step: int) -> None:
        """Writes a number."""
        import tensorflow as tf

        with self._open():
            tf.summary.scalar(name, value, step=step)
        self._writer.flush()

    def text(self, name: str, markdown: str) -> None:
        """Writes a text in Markdown."""
        import tensorflow as tf

        with self._open():
            tf.summary.text(name, markdown, step=0)
        self._writer.flush()

    def hparams(self, values: dict[str, bool | float | str]) -> None:
        """Writes hyperparameters; the scalars of this writer become their metrics."""
        from tensorboard.plugins.hparams import api

        with self._open():
            # By default, runs of the same hyperparameters would become one row, their mean. Without
            # a name a row is called after its folder.
            api.hparams(values, trial_id="")
        self._writer.flush()

    def _open(self):
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        return self._writer.as_default()
