"""The state of a training on disk, whole or not at all, and how far it had come."""

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_pixelcnnpp.errors import DiskFullError, UserError, is_out_of_memory
from keras_pixelcnnpp.files import atomic_path, read_json, sha256, write_json
from keras_pixelcnnpp.optimizers import variable_value


class Progress(NamedTuple):
    """Finished epochs, and finished steps of the epoch after them. Ordered by time."""

    epoch: int = 0
    step: int = 0

    def __str__(self) -> str:
        epochs = f"{self.epoch} epoch{'' if self.epoch == 1 else 's'}"
        steps = f"{self.step} step{'' if self.step == 1 else 's'}"
        return f"{epochs} and {steps}" if self.step else epochs


class Checkpoints:
    """The checkpoints of one training run: the last two are kept."""

    # A checkpoint after `n` epochs is two files. `epoch-000n.npz` holds every variable: weights,
    # states of layers and of their seed generators, and the optimizer's moments, averages and step
    # counter. `epoch-000n.json`, written after it, holds its SHA-256. A checkpoint without the
    # second file, or with another checksum, was torn by a crash, and the one before it is used.
    # `epoch-000n-step-0000m` is one within an epoch, after `m` of its steps, and holds the running
    # means of the metrics too.

    KEEP = 2

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def save(self, model: keras.Model, progress: Progress) -> None:
        """Writes the state of a training, then drops all checkpoints but the last two.

        If a variable isn't finite (`UserError`) or the disk is full, those before it are kept.
        """
        variables = _variables(model, with_metrics=progress.step > 0)
        state = {name: variable_value(variable) for name, variable in variables.items()}
        if not all(_is_finite(value) for value in state.values()):
            raise UserError(
                f"The model holds NaN or infinite numbers after {progress} and was not kept. "
                f"{self.advice()}"
            )
        path = self._variables_path(progress)
        try:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **state)
            description = {**progress._asdict(), "sha256": sha256(path)}
            write_json(path.with_suffix(".json"), description)
        except DiskFullError as error:
            raise DiskFullError(
                f"{error} {self.advice()} Make room, then go on with --resume."
            ) from error
        self._drop_all_but_the_last(progress)

    def restore(self, model: keras.Model) -> Progress:
        """Puts the newest intact checkpoint into a built and compiled model of that configuration.

        Returns how far the training had come; without a checkpoint `Progress(0, 0)`, and nothing
        is changed. Raises a `UserError` if none is intact, or they are of another model.
        """
        saved = self.saved()
        if not saved:
            return Progress()
        newest = next(filter(self._is_intact, reversed(saved)), None)
        if newest is None:
            raise UserError(
                f"No checkpoint in {self.folder} is intact. Use --overwrite to start over."
            )
        try:
            self._load(model, newest)
        except UserError:
            raise
        # Anything: the checksum tells damage from intent, not a good file from a hostile one.
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UserError(f"The checkpoint in {self.folder} cannot be read: {error}") from error
        return newest

    def saved(self) -> list[Progress]:
        """What there are checkpoints of, intact or not, in ascending order."""
        return sorted(filter(None, map(_progress, self.folder.glob("*.json"))))

    def advice(self) -> str:
        """What a user can do after a training broke off."""
        saved = self.saved()
        if not saved:
            return "There is no checkpoint yet."
        return f"The checkpoint after {saved[-1]} is kept in {self.folder}."

    def clear(self) -> None:
        """Removes all of them."""
        # An error is not passed over: what stays would be taken for a checkpoint of the new run.
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def _drop_all_but_the_last(self, current: Progress) -> None:
        # A later one is torn, or this training would have started from there.
        kept = [progress for progress in self.saved() if progress <= current][-self.KEEP :]
        # The description first: variables without one don't count as a checkpoint.
        for ending in ("*.json", "*.npz"):
            for path in self.folder.glob(ending):
                progress = _progress(path)
                if progress is not None and progress not in kept:
                    path.unlink()

    def _variables_path(self, progress: Progress) -> Path:
        step = f"-step-{progress.step:05d}" if progress.step else ""
        return self.folder / f"epoch-{progress.epoch:04d}{step}.npz"

    def _is_intact(self, progress: Progress) -> bool:
        path = self._variables_path(progress)
        try:
            return read_json(path.with_suffix(".json"))["sha256"] == sha256(path)
        except (OSError, UserError, KeyError):
            return False

    def _load(self, model: keras.Model, progress: Progress) -> None:
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables = _variables(model, with_metrics=progress.step > 0)
        # Opened here: on a damaged archive np.load would leave its file open.
        with self._variables_path(progress).open("rb") as file, np.load(file) as state:
            fits = set(state.files) == set(variables) and all(
                state[name].shape == tuple(variable.shape) for name, variable in variables.items()
            )
            if not fits:
                raise UserError(f"The checkpoints in {self.folder} belong to another model.")
            for name, variable in variables.items():
                variable.assign(state[name])


def _progress(path: Path) -> Progress | None:
    match = re.fullmatch(r"epoch-(\d+)(?:-step-(\d+))?", path.stem)
    return Progress(int(match[1]), int(match[2] or 0)) if match else None


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
