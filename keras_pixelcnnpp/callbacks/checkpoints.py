"""The state of a training run on disk, complete enough to go on as if nothing had happened."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.atomic import atomic_path, write_json
from keras_pixelcnnpp.callbacks.averaged_weights import variable_value
from keras_pixelcnnpp.errors import UserError


class Checkpoints:
    """The checkpoints of one training run: the last two epochs are kept.

    A checkpoint of epoch `n` (the number of epochs done) is two files. `epoch-000n.npz` holds
    every variable: weights, states of layers and of their seed generators, and the optimizer's
    moments, moving averages and step counter. `epoch-000n.json`, written after it, holds its
    SHA-256. A checkpoint without the second file, or with another checksum, was torn by a crash,
    and the one before it is used.

    Args:
        folder: Where they lie. It need not exist yet.

    Example:

    ```python
    checkpoints = Checkpoints("runs/digits/checkpoints/pixelcnnpp")
    checkpoints.save(model, epoch=3)
    checkpoints.restore(model)           # 3
    ```
    """

    KEEP = 2

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def save(self, model: keras.Model, epoch: int) -> None:
        """Writes the state after `epoch` finished epochs, then drops all but the last two.

        Args:
            model: A compiled model that has made at least one step.
            epoch: The number of finished epochs.
        """
        path = self._variables_path(epoch)
        state = {name: variable_value(v) for name, v in _variables(model).items()}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **state)
        write_json(path.with_suffix(".json"), {"epoch": epoch, "sha256": _sha256(path)})
        for old in self.epochs()[: -self.KEEP]:
            self._variables_path(old).with_suffix(".json").unlink()
            self._variables_path(old).unlink(missing_ok=True)

    def restore(self, model: keras.Model) -> int:
        """Puts the newest intact checkpoint into the model and its optimizer.

        Args:
            model: A built and compiled model of the same configuration.

        Returns:
            The number of finished epochs; 0 when there is no checkpoint, and nothing was changed.

        Raises:
            UserError: if there are checkpoints and none is intact, or they are of another model.
        """
        epochs = self.epochs()
        if not epochs:
            return 0
        intact = [epoch for epoch in epochs if self._is_intact(epoch)]
        if not intact:
            raise UserError(
                f"No checkpoint in {self.folder} is intact. Use --overwrite to start over."
            )
        self._load(model, intact[-1])
        return intact[-1]

    def epochs(self) -> list[int]:
        """The epochs of which there is a checkpoint, intact or not, in ascending order."""
        found = (re.fullmatch(r"epoch-(\d+)", path.stem) for path in self.folder.glob("*.json"))
        return sorted(int(match[1]) for match in found if match)

    def clear(self) -> None:
        """Removes all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _variables_path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.npz"

    def _is_intact(self, epoch: int) -> bool:
        path = self._variables_path(epoch)
        try:
            description = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            return description["sha256"] == _sha256(path)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _load(self, model: keras.Model, epoch: int) -> None:
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables = _variables(model)
        with np.load(self._variables_path(epoch)) as state:
            fits = set(state.files) == set(variables) and all(
                state[name].shape == tuple(variable.shape) for name, variable in variables.items()
            )
            if not fits:
                raise UserError(f"The checkpoints in {self.folder} belong to another model.")
            for name, variable in variables.items():
                variable.assign(state[name])


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    # `model.weights` lacks the states of the seed generators; `model.variables` has them. Paths of
    # variables need not be unique and hold counters that differ between processes, so the names
    # here are positions.
    model_variables = {f"model_{i:05d}": v for i, v in enumerate(model.variables)}
    optimizer_variables = {f"optimizer_{i:05d}": v for i, v in enumerate(model.optimizer.variables)}
    return {**model_variables, **optimizer_variables}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
