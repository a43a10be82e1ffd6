"""How a training ends early, and what is kept: by a signal, or by a number that is not finite."""

import signal
import threading

import keras
import numpy as np

from keras_pixelcnnpp.backend import on_gpu
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.train.checkpoints import Checkpoints, Progress


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises a `UserError` after the first step whose loss or gradient isn't finite."""

    # keras.callbacks.TerminateOnNaN ends `fit` as if all was well, so that the broken weights would
    # be measured and kept, and it doesn't say which pictures they were.
    #
    # The gradient is judged by what it left of two weights: the first, which lies at the end of
    # backpropagation and gets what was broken on the way, and the smallest. What they don't show,
    # the next loss does; the step named is then one too late. So it is under JAX and on a GPU,
    # where a look at the weights would hold up every step. (The loss is a Python number already.)

    SHOWN_ROWS = 16

    def __init__(self, batches: ImageSequence, checkpoints: Checkpoints):
        super().__init__()
        self.batches = batches
        self.checkpoints = checkpoints
        self._epoch = 0
        self._weights = []

    def on_train_begin(self, logs=None):
        """Called by Keras."""
        if keras.backend.backend() != "jax" and not on_gpu():
            weights = self.model.trainable_variables
            self._weights = [weights[0], min(weights, key=lambda weight: np.prod(weight.shape))]

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Called by Keras."""
        # The logs hold means over the epoch so far, in which NaN and infinity stay.
        if not np.isfinite(float(logs["loss"])):
            self._stop("loss", batch)
        if not all(np.isfinite(variable_value(weight)).all() for weight in self._weights):
            self._stop("gradient", batch)

    def _stop(self, what: str, batch: int) -> None:
        rows = self.batches.rows(batch)
        shown = ", ".join(map(str, rows[: self.SHOWN_ROWS]))
        more = f" and {len(rows) - self.SHOWN_ROWS} more" if len(rows) > self.SHOWN_ROWS else ""
        steps = int(self.model.optimizer.iterations.numpy())
        raise UserError(
            f"The {what} is no longer finite in step {steps} (epoch {self._epoch + 1}, batch "
            f"{self.batches.first_step + batch + 1}: training pictures {shown}{more}). "
            f"{self.checkpoints.advice()} Start over with a lower --learning-rate, or go on with "
            "--resume --gradient-clip-norm 1."
        )


class TrainingStopped(Exception):  # noqa: N818 - a request of the user, not an error
    """Raised out of `fit` after the step during which the signal of this number came."""

    def __init__(self, number: int):
        super().__init__(f"stopped by signal {number}")
        self.signal = number


class StopOnSignal:
    """Around `fit`: takes note of a signal, for `EpochCheckpoint` to act on after the step.

    A second signal ends the program at once. With no `signals` all keep their meaning.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, signals=SIGNALS):
        self.signals = signals
        self.received = None
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
        self.received = number
        signal.signal(number, self._old_handlers[number])

    def stop(self) -> None:
        """Raises `TrainingStopped` if a signal came."""
        if self.received is not None:
            raise TrainingStopped(self.received)


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves the complete state of a training after every epoch, and where a signal ends it."""

    # keras.callbacks.BackupAndRestore forgets the state of the seed generators (the dropout masks),
    # so that a resumed run differs from one that was not interrupted. `model.stop_training` would
    # not do for a signal: `fit` would call the broken epoch finished, and measure it as such.

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
        if self.stop.received is not None:
            # After the last step the epoch is done, whether or not it was measured.
            last = batch + 1 == len(self.batches)
            step = self.batches.first_step + batch + 1
            progress = Progress(self._epoch + 1) if last else Progress(self._epoch, step)
            self.checkpoints.save(self.model, progress)
            self.stop.stop()

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        self.checkpoints.save(self.model, Progress(epoch + 1))
        self.stop.stop()
