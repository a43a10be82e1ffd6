"""What a run was configured with, in TensorBoard."""

from pathlib import Path

import keras

from keras_pixelcnnpp.callbacks.summary_writer import SummaryWriter


class TensorBoardConfiguration(keras.callbacks.Callback):
    """Writes hyperparameters, the metrics they are judged by, and the configuration as text.

    A TensorBoard over several runs shows them side by side under HPARAMS.

    No list of hyperparameters and metrics is declared (`hparams_config`): TensorBoard would take
    one run's list for all. It gathers them from the runs instead, and takes for metrics all scalars
    in the folder of the hyperparameters. So these get a folder of their own, with a second copy of
    the few numbers that matter.

    Args:
        log_dir: The folder of these logs; no other writer may use it.
        hparams: Hyperparameters by name: booleans, numbers and strings.
        text: The configuration, in Markdown.
    """

    METRICS = ("val_bits_per_dim", "val_accuracy", "val_frechet_distance")

    def __init__(self, log_dir: str | Path, hparams: dict[str, bool | float | str], text: str):
        super().__init__()
        self.hparams = hparams
        self.text = text
        self._writer = SummaryWriter(log_dir)
        self._written = False

    def on_train_begin(self, logs=None):
        """Called by Keras, once for each phase of the training."""
        if not self._written:
            self._writer.hparams(self.hparams)
            self._writer.text("configuration", self.text)
            self._written = True

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        for name in self.METRICS:
            if name in (logs or {}):
                self._writer.scalar(name, logs[name], epoch)
