"""Checkpoints of a training run, and how it ends early: by a signal or a non-finite loss."""

import io
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.utils.backend import variable_value
from keras_pixelcnnpp.utils.distribution import largest_of_processes
from keras_pixelcnnpp.utils.errors import UserError, is_out_of_memory
from keras_pixelcnnpp.utils.files import atomic_path, counted, read_arrays


class Progress(NamedTuple):
    """Number of finished epochs, and of finished steps in the next epoch. Ordered by time."""

    epoch: int = 0
    step: int = 0

    def __str__(self) -> str:
        epochs = counted(self.epoch, "epoch")
        return f"{epochs} and {counted(self.step, 'step')}" if self.step else epochs


class Checkpoints:
    """The checkpoints of a training run, of which the last two are kept.

    `epoch-0002.npz` contains all variables after two epochs: weights, states of layers and seed
    generators, and the optimizer's moments, averages and step counter. A checkpoint within an
    epoch, such as `epoch-0002-step-00003.npz`, also contains the running means of the metrics. If
    a crash damaged the newest checkpoint, which its checksums show, the previous one is used. A
    checkpoint that cannot be read for another reason, such as its permissions, is an error.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def save(self, model: keras.Model, progress: Progress) -> None:
        """Saves the state of a training, then deletes all checkpoints but the last two.

        Raises a `UserError` if a variable is not finite, and keeps earlier checkpoints.
        """
        variables = _variables(model, with_metrics=progress.step > 0)
        state = {name: variable_value(variable) for name, variable in variables.items()}
        if not all(map(_is_finite, state.values())):
            raise UserError(
                f"The weights are no longer finite after {progress} and were not saved. "
                f"{self.advice()}"
            )
        with atomic_path(self._path(progress)) as temporary, temporary.open("wb") as file:
            np.savez(file, **state)  # type: ignore[arg-type]
        # A later checkpoint is damaged; otherwise training would have started from it.
        kept = [saved for saved in self.saved() if saved <= progress][-2:]
        for saved in self.saved():
            if saved not in kept:
                self._path(saved).unlink()

    def restore(self, model: keras.Model) -> Progress:
        """Restores the newest intact checkpoint into a built and compiled model.

        Returns its progress, or `Progress(0, 0)` if there is no checkpoint. Raises a `UserError` if
        no checkpoint is intact, or if they belong to another model.
        """
        for progress in reversed(self.saved()):
            # Apart from the decoding, because an `OSError` of the disk is not damage, but one of
            # `zipfile`, which may seek to any place, is.
            content = self._path(progress).read_bytes()
            try:
                state = self._arrays(content, _variables(model, with_metrics=progress.step > 0))
            except UserError:
                raise
            except Exception as error:  # zipfile and NumPy raise many types for damaged files
                if is_out_of_memory(error):
                    raise
                continue
            for name, variable in _variables(model, with_metrics=progress.step > 0).items():
                variable.assign(state[name])
            return progress
        if self.saved():
            raise UserError(
                f"All checkpoints in {self.folder} are damaged. Use --overwrite to start over."
            )
        return Progress()

    def saved(self) -> list[Progress]:
        """Returns the progress of each checkpoint, intact or not, in ascending order."""
        found = []
        for path in self.folder.glob("*.npz"):
            match = re.fullmatch(r"epoch-(\d+)(?:-step-(\d+))?", path.stem)
            progress = Progress(int(match[1]), int(match[2] or 0)) if match else None
            # Other names of the same numbers, such as `epoch-2`, are not files of this class.
            if progress and self._path(progress) == path:
                found.append(progress)
        return sorted(found)

    def advice(self) -> str:
        """Returns a sentence on which checkpoint is left after a training failed."""
        saved = self.saved()
        if not saved:
            return "There is no checkpoint yet."
        return f"The checkpoint after {saved[-1]} is kept in {self.folder}."

    def _path(self, progress: Progress) -> Path:
        step = f"-step-{progress.step:05d}" if progress.step else ""
        return self.folder / f"epoch-{progress.epoch:04d}{step}.npz"

    def _arrays(self, content: bytes, variables: dict[str, Any]) -> dict[str, np.ndarray]:
        """Returns the arrays in a file, after a comparison of their shapes with the variables."""
        state = dict(read_arrays(io.BytesIO(content)))
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if shapes != {name: np.shape(array) for name, array in state.items()}:
            raise UserError(f"The checkpoints in {self.folder} belong to another model.")
        return state


def _is_finite(value: np.ndarray) -> bool:
    # Integers are always finite. NumPy does not count bfloat16 as a floating-point type.
    return value.dtype.kind in "iub" or bool(np.isfinite(value).all())


def _variables(model: keras.Model, *, with_metrics: bool) -> dict[str, keras.Variable]:
    # Unlike `model.weights`, `model.variables` includes the states of seed generators. Variable
    # paths need not be unique, and contain counters that differ between processes, so variables
    # are named by position.
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    if with_metrics:
        groups["metric"] = model.metrics_variables
    return {
        f"{group}_{i:05d}": variable
        for group, variables in groups.items()
        for i, variable in enumerate(variables)
    }


class TrainingStopped(Exception):  # noqa: N818 - requested by the user, not an error
    """Raised from `fit` after the step during which a signal arrived."""

    def __init__(self, number: int):
        super().__init__(f"stopped by signal {number}")
        self.signal = number


@contextmanager
def recorded_signals() -> Iterator[list[int]]:
    """Context manager that records a signal during `fit`, so that training stops after the step.

    It yields a list of the signal's number, empty before, with which `EpochCheckpoint` stops the
    training. A second signal ends the program at once.
    """
    received: list[int] = []

    def record(number: int, frame: object) -> None:
        if received:
            signal.signal(number, old_handlers[number])
            signal.raise_signal(number)
        received.append(number)
        with suppress(OSError, RuntimeError):  # a closed pipe, or a print that was interrupted
            print("\nStopping after this step or epoch. A second signal stops at once.", flush=True)

    # Python allows signal handlers only in the main thread.
    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    old_handlers: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, record)
        yield received
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves a checkpoint after every epoch, and when a signal stops the training.

    If the batches are the rest of an epoch, `fit` ends after it, and `goes_on` says whether other
    epochs remain. Raises a `UserError` after the first step whose loss is not finite, which names
    the images of the step by their `paths`, or by default by their positions.
    """

    # keras.callbacks.BackupAndRestore does not save the states of seed generators (dropout masks),
    # so a resumed run would differ from an uninterrupted one. Setting `model.stop_training` on a
    # signal would make `fit` finish and evaluate the incomplete epoch. With
    # keras.callbacks.TerminateOnNaN, weights of NaN would be evaluated and saved.

    SHOWN_IMAGES = 16

    def __init__(
        self,
        checkpoints: Checkpoints,
        batches: ImageBatches,
        signals: list[int],
        paths: Sequence[str] = (),
    ):
        super().__init__()
        self.checkpoints = checkpoints
        self.batches = batches
        self.signals = signals
        self.paths = paths or range(len(batches.images))
        self.goes_on = False
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch
        if self.batches.first_step:
            # `fit` has just reset the metrics, whose values are in the checkpoint.
            self.checkpoints.restore(self.model)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The logs are running means over the epoch, so NaN and infinity persist in them.
        if not np.isfinite(float(logs["loss"])):
            self._refuse(batch)
        if number := self._signal():
            last = batch + 1 == len(self.batches)
            step = self.batches.first_step + batch + 1
            progress = Progress(self._epoch + 1) if last else Progress(self._epoch, step)
            self.checkpoints.save(self.model, progress)
            if not last:  # otherwise, the epoch is evaluated first, for its logs
                raise TrainingStopped(number)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.checkpoints.save(self.model, Progress(epoch + 1))
        if number := self._signal():
            raise TrainingStopped(number)
        # Unless a callback such as keras.callbacks.EarlyStopping has requested the end.
        if self.batches.first_step and not self.model.stop_training:
            self.goes_on = epoch + 1 < self.params["epochs"]
            self.model.stop_training = True

    def _signal(self) -> int:
        """Returns the number of a signal that any process has received, or 0."""
        # All stop after the same step, because none can compute the next one alone.
        return largest_of_processes(self.signals[0] if self.signals else 0)

    def _refuse(self, batch: int) -> None:
        rows = self.batches.rows(batch)
        shown = ", ".join(str(self.paths[row]) for row in rows[: self.SHOWN_IMAGES])
        more = len(rows) - self.SHOWN_IMAGES
        images = f"{shown} and {more} more" if more > 0 else shown
        raise UserError(
            f"The loss is no longer finite (epoch {self._epoch + 1}, batch "
            f"{self.batches.first_step + batch + 1}, of the images {images}). "
            f"{self.checkpoints.advice()} Start over with a lower --learning-rate, or continue "
            "with --resume --gradient-clip-norm 1."
        )
