"""Ctrl-C and SIGTERM end a training run in good order."""

import signal
import threading


class TrainingStopped(Exception):  # noqa: N818 - a request of the user, not an error
    """Raised out of `fit` after the step during which the signal came."""


class StopOnSignal:
    """Takes note of a signal, for `EpochCheckpoint` to act on when the step is finished.

    A second signal ends the program at once. Use it as a context manager around `fit`, so that the
    signals get their old meaning back.

    Args:
        signals: Which; none leaves all of them their meaning.

    Attributes:
        requested: Whether a signal came.

    Example:

    ```python
    with StopOnSignal() as stop:
        model.fit(batches, callbacks=[EpochCheckpoint(checkpoints, batches, stop)])
    ```
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, signals=SIGNALS):
        self.signals = signals
        self.requested = False
        self._old_handlers = {}

    def __enter__(self):
        # Python lets only the main thread handle signals; elsewhere there is nothing to do.
        if threading.current_thread() is threading.main_thread():
            self._old_handlers = {
                number: signal.signal(number, self._handle) for number in self.signals
            }
        return self

    def __exit__(self, *exception):
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        self._old_handlers = {}

    def _handle(self, number, frame):
        self.requested = True
        signal.signal(number, self._old_handlers[number])
