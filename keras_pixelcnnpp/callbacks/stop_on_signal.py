"""Ctrl-C and SIGTERM end a training run in good order."""

import signal
import threading

import keras


class TrainingStopped(Exception):  # noqa: N818 - a request of the user, not an error
    """Raised out of `fit` after the step during which the signal came."""


class StopOnSignal(keras.callbacks.Callback):
    """Lets the step finish, then raises `TrainingStopped`.

    `model.stop_training` would not do: `fit` would call the broken epoch finished, and measure and
    keep it as such. A second signal ends the program at once.

    Use it as a context manager around `fit`, so that the signals get their old meaning back:

    ```python
    with StopOnSignal() as stop:
        model.fit(..., callbacks=[stop])
    ```
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        super().__init__()
        self._stop = False
        self._old_handlers = {}

    def __enter__(self):
        # Python lets only the main thread handle signals; elsewhere there is nothing to do.
        if threading.current_thread() is threading.main_thread():
            self._old_handlers = {
                number: signal.signal(number, self._handle) for number in self.SIGNALS
            }
        return self

    def __exit__(self, *exception):
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        self._old_handlers = {}

    def on_train_batch_end(self, batch, logs=None):
        """Called by Keras."""
        if self._stop:
            raise TrainingStopped

    def _handle(self, number, frame):
        self._stop = True
        signal.signal(number, self._old_handlers[number])
