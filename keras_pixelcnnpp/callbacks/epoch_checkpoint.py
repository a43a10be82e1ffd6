"""Writes a checkpoint after every epoch."""

import keras

from keras_pixelcnnpp.callbacks.checkpoints import Checkpoints


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves the complete state of a training run at the end of every epoch.

    `keras.callbacks.BackupAndRestore` is not used: it forgets the state of the seed generators (the
    dropout masks), so that a resumed run differs from one that was not interrupted.

    Args:
        checkpoints: Where to.
    """

    def __init__(self, checkpoints: Checkpoints):
        super().__init__()
        self.checkpoints = checkpoints

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        self.checkpoints.save(self.model, epoch + 1)
