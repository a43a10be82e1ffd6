"""Ends a training whose numbers have become NaN or infinite."""

import keras
import numpy as np

from keras_pixelcnnpp.callbacks.averaged_weights import variable_value
from keras_pixelcnnpp.callbacks.checkpoints import Checkpoints
from keras_pixelcnnpp.datasets.image_sequence import ImageSequence
from keras_pixelcnnpp.errors import UserError


class NonFiniteError(UserError):
    """The loss or the gradient of a training is NaN or infinite.

    Args:
        message: One line.
        rows: Int `(batch,)`, the training pictures of the step.
    """

    def __init__(self, message: str, rows: np.ndarray):
        super().__init__(message)
        self.rows = rows


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises `NonFiniteError` after the first step whose loss or gradient isn't finite.

    `keras.callbacks.TerminateOnNaN` is not used: it ends `fit` as if all was well, so that the
    broken weights would be measured and kept, and it doesn't say which pictures they were.

    The gradient is judged by what it left of two weights: the first, which lies at the end of
    backpropagation and gets what was broken on the way, and the smallest. What they don't show, the
    next loss does; the step named is then one too late. So it is under JAX, where a look at the
    weights would hold up every step.

    Args:
        batches: What the model is trained on.
        checkpoints: The training's, to say what is left.
    """

    SHOWN_ROWS = 16

    def __init__(self, batches: ImageSequence, checkpoints: Checkpoints):
        super().__init__()
        self.batches = batches
        self.checkpoints = checkpoints
        self._epoch = 0
        self._weights = []

    def on_train_begin(self, logs=None):
        """Called by Keras."""
        if keras.backend.backend() != "jax":
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
        raise NonFiniteError(
            f"The {what} is no longer finite in step {steps} (epoch {self._epoch + 1}, batch "
            f"{self.batches.first_step + batch + 1}: training pictures {shown}{more}). "
            f"{self.checkpoints.advice()} Start over with a lower --learning-rate, or go on with "
            "--resume --gradient-clip-norm 1.",
            rows,
        )
