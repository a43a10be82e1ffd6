"""What the options of a command say about the conditions of a model: vectors and maps."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from keras_pixelcnnpp.commands.options import ConditionOptions
from keras_pixelcnnpp.commands.trained_model import TrainedModel, files_below, print_notes
from keras_pixelcnnpp.conditions import Conditions, Maps, Vectors
from keras_pixelcnnpp.data.images import SUFFIXES, Changes
from keras_pixelcnnpp.data.pairs import FOLDERS
from keras_pixelcnnpp.utils.errors import UserError

MAX_GRID = 1_000_000


@dataclass(frozen=True)
class Given:
    """What options give beside labels, for a model of vectors or maps.

    Args:
        values: Dict of arrays by the names of parts: one value for all images.
        maps: Folder with a map for each image, of the same relative path with any extension, or
            `None`.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    maps: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.values) or self.maps is not None

    def maps_of(
        self,
        trained: TrainedModel,
        paths: Sequence[str],
        size: tuple[int, int] | None = None,
        changes: Changes | None = None,
    ) -> list[np.ndarray]:
        """Returns the maps of images with relative paths; none without a folder of maps.

        `size` is the height and width of frames. What reading changes is added to `changes`.
        """
        if self.maps is None:
            return []
        return [trained.read_map(map_of(self.maps, path), size, changes) for path in paths]

    def with_maps(self, maps: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the values of images, one for all, or one for each of the result of `maps_of`."""
        return {**self.values, Maps.name: np.stack(maps)} if len(maps) else self.values

    @property
    def vector(self) -> list[float]:
        """The components of the vector, if one is given."""
        return self.values[Vectors.name].tolist() if Vectors.name in self.values else []


NOTHING = Given()


def map_of(folder: Path, path: str) -> Path:
    """Returns the file below a folder of maps that belongs to the relative path of an image."""
    stem = PurePosixPath(path).with_suffix("").as_posix()
    for suffix in (*SUFFIXES, ".npy"):
        if (file := folder / f"{stem}{suffix}").is_file():
            return file
    raise UserError(f"{path}: no map {stem} in {folder}")


def pairs_in(data: Path, trained: TrainedModel) -> tuple[Path, Path | None]:
    """Returns the folder of images, and that of maps if a model of maps is given such pairs."""
    has_maps = any(isinstance(part, Maps) for part in trained.model.conditions)
    images, maps = (data / name for name in FOLDERS)
    return (images, maps) if has_maps and images.is_dir() and maps.is_dir() else (data, None)


def given_by(options: ConditionOptions, trained: TrainedModel, maps: Path | None = None) -> Given:
    """Returns what `--vector beta=0.4,field=0` and `--map` give, a file or a folder of maps.

    `maps` is the folder of maps if there is no `--map`.

    Raises:
        UserError: If the model needs a vector or a map and none is given, or the reverse.
    """
    conditions, maps = trained.model.conditions, options.map or maps
    parts = {part.name: part for part in conditions}
    require_given(conditions, {Vectors.name: options.vector, Maps.name: maps})
    values = {}
    if Vectors.name in parts:
        (values[Vectors.name],) = grid_of(options.vector, parts[Vectors.name].names, "--vector", 1)
    given = Given(values) if Maps.name not in parts else given_map(maps, trained)
    return Given({**values, **given.values}, given.maps)


def given_map(path: Path, trained: TrainedModel) -> Given:
    """Returns the map of all images in a file, or the folder of the map of each image."""
    if path.is_dir():
        return Given(maps=path)
    (part,), changes = (p for p in trained.model.conditions if isinstance(p, Maps)), Changes()
    (one,) = part.parse(trained.read_map(path, changes=changes), 1)
    print_notes(changes)
    return Given({Maps.name: one})


def given_for_samples(
    options: ConditionOptions, trained: TrainedModel, classes: int, count: int
) -> dict[str, np.ndarray]:
    """Returns the values of `count` images of each of some classes, by the names of parts.

    A `.npy` file may have a map for each image, in the order of the classes. The maps of a folder,
    in the order of their names, are those of each class.
    """
    conditions, total = trained.model.conditions, classes * count
    parts = {part.name: part for part in conditions}
    require_given(conditions, {Vectors.name: options.vector, Maps.name: options.map})
    values = {}
    if Vectors.name in parts:
        vector = grid_of(options.vector, parts[Vectors.name].names, "--vector", 1)
        values[Vectors.name] = np.repeat(vector, total, axis=0)
    if Maps.name in parts:
        changes = Changes()
        maps = _maps_for_samples(options.map, trained, classes, count, changes)
        values[Maps.name] = parts[Maps.name].parse(maps, total)
        print_notes(changes)
    return values


def _maps_for_samples(
    path: Path, trained: TrainedModel, classes: int, count: int, changes: Changes
) -> np.ndarray:
    if not path.is_dir():
        return trained.read_map(path, changes=changes)
    files = files_below(path, (*SUFFIXES, ".npy"))
    if len(files) != count:
        raise UserError(
            f"{path} has {len(files)} maps. Expected one for each image: add --count {len(files)}"
        )
    maps = np.stack([trained.read_map(path / file, changes=changes) for file in files])
    return np.tile(maps, (classes, *[1] * (maps.ndim - 1)))


def require_given(conditions: Conditions, given: dict[str, Any]) -> None:
    """Raises a `UserError` unless these options are given if a model has such parts."""
    parts = {part.name: part for part in conditions}
    for name, value in given.items():
        if value is not None and name not in parts:
            raise UserError(
                f"Invalid value for --{name}. Expected none for a model of "
                f"{conditions.description}. Received: {value}"
            )
        if value is None and name in parts:
            example = ",".join(f"{one}=…" for one in parts[name].names)
            example = example if name == Vectors.name else "FILE.npy"
            raise UserError(
                f"Missing option --{name} {example}: the model is conditioned on "
                f"{conditions.description}"
            )


def grid_of(
    text: str, names: tuple[str, ...], option: str = "--grid", most: int = MAX_GRID
) -> np.ndarray:
    """Returns all vectors of a grid such as `beta=0.2:0.6:41,field=0`, float `(K, size)`."""
    parts = [part.partition("=") for part in text.split(",")]
    given = {name.strip(): value for name, _, value in parts}
    if sorted(given) != sorted(names) or len(parts) != len(names):
        expected = ",".join(f"{name}=…" for name in names)
        raise UserError(f"Invalid value for {option}. Expected {expected}. Received: {text}")
    values = [_values(given[name], option) for name in names]
    if np.prod([len(one) for one in values], dtype="float64") > most:
        kind = "a vector" if most == 1 else f"at most {most:,} vectors"
        raise UserError(f"Invalid value for {option}. Expected {kind}. Received: {text}")
    return np.array([*itertools.product(*values)])


def _values(text: str, option: str) -> np.ndarray:
    """Returns the values that `LOW:HIGH:COUNT`, with `log:` before it, or a number stand for."""
    spacing = np.geomspace if text.startswith("log:") else np.linspace
    try:
        numbers = [float(part) for part in text.removeprefix("log:").split(":")]
        low, high, count = numbers if len(numbers) == 3 else (*numbers, *numbers, 1)
        good = all(map(math.isfinite, numbers)) and count in range(1, MAX_GRID + 1)
        good &= spacing is np.linspace or (low > 0 and high > 0 and len(numbers) == 3)
    except ValueError:
        good = False
    if not good:
        expected = "LOW:HIGH:COUNT, log:LOW:HIGH:COUNT with positive bounds, or a number"
        expected = "a number" if option == "--vector" else expected
        raise UserError(f"Invalid value for {option}. Expected {expected}. Received: {text}")
    return spacing(low, high, int(count))
