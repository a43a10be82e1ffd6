"""Writes a checkpoint after every epoch."""

import keras

from keras_pixelcnnpp.callbacks.checkpoints import Checkpoints
from keras_pixelcnnpp.callbacks.progress import Progress
from keras_pixelcnnpp.callbacks.stop_on_signal import StopOnSignal, TrainingStopped
from keras_pixelcnnpp.datasets.image_sequence import ImageSequence


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves the complete state of a training after every epoch, and where a signal ends it.

    `keras.callbacks.BackupAndRestore` is not used: it forgets the state of the seed generators (the
    dropout masks), so that a resumed run differs from one that was not interrupted.

    Args:
        checkpoints: Where to.
        batches: What the model is trained on; from a step on, if the epoch was begun before.
        stop: Says whether a signal came. Once it has, the step is finished and kept, and
            `TrainingStopped` raised out of `fit`. (`model.stop_training` would not do: `fit` would
            call the broken epoch finished, and measure it as such.)
    """

    def __init__(self, checkpoints: Checkpoints, batches: ImageSequence, stop: StopOnSignal):
        super().__init__()
        self.checkpoints = checkpoints
        self.batches = batches
        self.stop = stop
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._epoch = epoch
        if self.batches.first_step:
            # `fit` has just set the metrics to zero; the checkpoint knows what they were.
            self.checkpoints.restore(self.model)

    def on_train_batch_end(self, batch, logs=None):
        """Called by Keras."""
        if self.stop.requested:
            # After the last step the epoch is done, whether or not it was measured.
            last = batch + 1 == len(self.batches)
            step = self.batches.first_step + batch + 1
            self._save_and_stop(Progress(self._epoch + 1) if last else Progress(self._epoch, step))

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        self.checkpoints.save(self.model, Progress(epoch + 1))
        if self.stop.requested:
            raise TrainingStopped

    def _save_and_stop(self, progress: Progress) -> None:
        self.checkpoints.save(self.model, progress)
        raise TrainingStopped
