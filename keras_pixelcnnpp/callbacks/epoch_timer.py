"""How long the epochs of a training take."""

import time

import keras


class EpochTimer(keras.callbacks.Callback):
    """Measures each epoch's training, without the callbacks that come after it.

    Attributes:
        seconds: List of floats, one per epoch done since it was made.
    """

    def __init__(self):
        super().__init__()
        self.seconds = []
        self._start = None

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        self.seconds.append(time.perf_counter() - self._start)
