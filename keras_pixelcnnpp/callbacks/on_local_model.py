"""Callbacks that look at an ordinary model while a distributed copy of it is trained."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import keras


class OnLocalModel(keras.callbacks.Callback):
    """Brings a model up to date at the end of every epoch, then calls other callbacks with it.

    What they do (score, sample, write) needs no distribution, and much of it would not work with
    one: a device without a picture, or an array of which this process has only a part. They are
    told about epochs, not about batches.

    Args:
        callbacks: The other callbacks.
        model: The model that they see.
        update: Called before `on_epoch_end`; copies the state of what is trained into `model`.
        local: Returns a context manager inside which Keras distributes nothing.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        update: Callable[[], None],
        local: Callable[[], AbstractContextManager],
    ):
        super().__init__()
        self._callbacks = list(callbacks)
        self._local_model = model
        self._update = update
        self._local = local

    def set_params(self, params):
        """Called by Keras."""
        super().set_params(params)
        for callback in self._callbacks:
            callback.set_params(params)

    def set_model(self, model):
        """Called by Keras, with the model that is trained."""
        super().set_model(model)
        for callback in self._callbacks:
            callback.set_model(self._local_model)

    def on_train_begin(self, logs=None):
        """Called by Keras."""
        self._local_model.stop_training = False
        self._call("on_train_begin", logs)

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._call("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        self._update()
        self._call("on_epoch_end", epoch, logs)
        if self._local_model.stop_training:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        """Called by Keras."""
        self._call("on_train_end", logs)

    def _call(self, method, *arguments):
        # Not a CallbackList, which would give each its own copy of the logs: what one adds,
        # later ones and Keras's own use.
        with self._local():
            for callback in self._callbacks:
                getattr(callback, method)(*arguments)
