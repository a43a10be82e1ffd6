"""The state of a training on disk, and how a training ends early: by a signal or a loss of NaN."""

import re
import signal
import threading
from pathlib import Path
from typing import NamedTuple, Self

import keras
import numpy as np

from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.errors import UserError, is_out_of_memory
from keras_pixelcnnpp.files import atomic_path, counted
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.train.devices import largest


class Progress(NamedTuple):
    """Finished epochs, and finished steps of the epoch after them. Ordered by time."""

    epoch: int = 0
    step: int = 0

    def __str__(self) -> str:
        epochs = counted(self.epoch, "epoch")
        return f"{epochs} and {counted(self.step, 'step')}" if self.step else epochs


class Checkpoints:
    """The checkpoints of one training run: the last two are kept.

    `epoch-0002.npz` holds every variable after two epochs: weights, states of layers and of their
    seed generators, and the optimizer's moments, averages and step counter;
    `epoch-0002-step-00003.npz` also the running means of the metrics, after three more steps. What
    a crash tore is known by the checksums of the archive, and the one before it is used.
    """

    KEEP = 2

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def save(self, model: keras.Model, progress: Progress) -> None:
        """Writes the state of a training, then drops all checkpoints but the last two.

        If a variable isn't finite (`UserError`) or the disk is full, those before it are kept.
        """
        variables = _variables(model, with_metrics=progress.step > 0)
        state = {name: variable_value(variable) for name, variable in variables.items()}
        if not all(map(_is_finite, state.values())):
            raise UserError(
                f"The model holds NaN or infinite numbers after {progress} and was not kept. "
                f"{self.advice()}"
            )
        with atomic_path(self._path(progress)) as temporary, temporary.open("wb") as file:
            np.savez(file, **state)
        # A later one is torn, or this training would have started from there.
        kept = [saved for saved in self.saved() if saved <= progress][-self.KEEP :]
        for saved in self.saved():
            if saved not in kept:
                self._path(saved).unlink()

    def restore(self, model: keras.Model) -> Progress:
        """Puts the newest intact checkpoint into a built and compiled model of that configuration.

        Returns how far the training had come; without a checkpoint `Progress(0, 0)`, and nothing
        is changed. Raises a `UserError` if none is intact, or they are of another model.
        """
        for progress in reversed(self.saved()):
            try:
                with self._path(progress).open("rb") as file, np.load(file) as archive:
                    state = {name: archive[name] for name in archive.files}
            except Exception as error:  # whatever zipfile and NumPy raise for a damaged file
                if is_out_of_memory(error):
                    raise
                continue
            self._assign(model, state, progress)
            return progress
        if self.saved():
            raise UserError(
                f"No checkpoint in {self.folder} is intact. Use --overwrite to start over."
            )
        return Progress()

    def saved(self) -> list[Progress]:
        """What there are checkpoints of, intact or not, in ascending order."""
        names = (path.stem for path in self.folder.glob("*.npz"))
        found = (re.fullmatch(r"epoch-(\d+)(?:-step-(\d+))?", name) for name in names)
        return sorted(Progress(int(match[1]), int(match[2] or 0)) for match in found if match)

    def advice(self) -> str:
        """What a user can do after a training broke off."""
        saved = self.saved()
        if not saved:
            return "There is no checkpoint yet."
        return f"The checkpoint after {saved[-1]} is kept in {self.folder}."

    def _path(self, progress: Progress) -> Path:
        step = f"-step-{progress.step:05d}" if progress.step else ""
        return self.folder / f"epoch-{progress.epoch:04d}{step}.npz"

    def _assign(self, model: keras.Model, state: dict[str, np.ndarray], progress: Progress) -> None:
        variables = _variables(model, with_metrics=progress.step > 0)
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if shapes != {name: value.shape for name, value in state.items()}:
            raise UserError(f"The checkpoints in {self.folder} belong to another model.")
        for name, variable in variables.items():
            variable.assign(state[name])


def _is_finite(value: np.ndarray) -> bool:
    # Integers always are, and bfloat16 is no floating type to NumPy.
    return value.dtype.kind in "iub" or bool(np.isfinite(value).all())


def _variables(model: keras.Model, *, with_metrics: bool) -> dict[str, keras.Variable]:
    # `model.weights` lacks the states of the seed generators; `model.variables` has them. Paths of
    # variables need not be unique and hold counters that differ between processes, so the names
    # here are positions.
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    if with_metrics:
        groups["metric"] = model.metrics_variables
    return {
        f"{group}_{i:05d}": variable
        for group, variables in groups.items()
        for i, variable in enumerate(variables)
    }


class TrainingStopped(Exception):  # noqa: N818 - a request of the user, not an error
    """Raised out of `fit` after the step during which the signal of this number came."""

    def __init__(self, number: int):
        super().__init__(f"stopped by signal {number}")
        self.signal = number


class StopOnSignal:
    """Around `fit`: takes note of a signal, for `EpochCheckpoint` to act on after the step.

    A second signal ends the program at once.
    """

    def __init__(self) -> None:
        self._received = 0
        self._old_handlers = {}

    def __enter__(self) -> Self:
        # Python lets only the main thread handle signals; elsewhere there is nothing to do.
        if threading.current_thread() is threading.main_thread():
            self._old_handlers = {
                number: signal.signal(number, self._handle)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self._received:
            signal.signal(number, self._old_handlers[number])
            signal.raise_signal(number)
        self._received = number

    def received(self) -> int:
        """The number of the signal that came, to this process or to another; 0 for none."""
        # All processes must stop after the same step. A signal that comes meanwhile counts later.
        return largest(self._received)


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves the complete state of a training after every epoch, and where a signal ends it.

    After the first step whose loss isn't finite it raises a `UserError` instead.
    """

    # keras.callbacks.BackupAndRestore forgets the state of the seed generators (the dropout masks),
    # so that a resumed run differs from one that was not interrupted. `model.stop_training` would
    # not do for a signal: `fit` would call the broken epoch finished, and measure it as such; nor
    # would keras.callbacks.TerminateOnNaN: the broken weights would be measured and kept.

    SHOWN_ROWS = 16

    def __init__(self, checkpoints: Checkpoints, batches: ImageBatches, stop: StopOnSignal):
        super().__init__()
        self.checkpoints = checkpoints
        self.batches = batches
        self.stop = stop
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch
        if self.batches.first_step:
            # `fit` has just set the metrics to zero; the checkpoint knows what they were.
            self.checkpoints.restore(self.model)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The logs hold means over the epoch so far, in which NaN and infinity stay.
        if not np.isfinite(float(logs["loss"])):
            self._refuse(batch)
        if number := self.stop.received():
            # After the last step the epoch is done, whether or not it was measured.
            last = batch + 1 == len(self.batches)
            step = self.batches.first_step + batch + 1
            progress = Progress(self._epoch + 1) if last else Progress(self._epoch, step)
            self.checkpoints.save(self.model, progress)
            raise TrainingStopped(number)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.checkpoints.save(self.model, Progress(epoch + 1))
        if number := self.stop.received():
            raise TrainingStopped(number)

    def _refuse(self, batch: int) -> None:
        rows = self.batches.rows(batch)
        shown = ", ".join(map(str, rows[: self.SHOWN_ROWS]))
        more = f" and {len(rows) - self.SHOWN_ROWS} more" if len(rows) > self.SHOWN_ROWS else ""
        raise UserError(
            f"The loss is no longer finite (epoch {self._epoch + 1}, batch "
            f"{self.batches.first_step + batch + 1}: training images {shown}{more}). "
            f"{self.checkpoints.advice()} Start over with a lower --learning-rate, or go on with "
            "--resume --gradient-clip-norm 1."
        )
