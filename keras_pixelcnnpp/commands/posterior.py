"""The command `posterior`, and the vectors that users write in options."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from keras_pixelcnnpp.commands.helpers import require_no_input
from keras_pixelcnnpp.commands.options import ConditionOptions, PosteriorOptions
from keras_pixelcnnpp.commands.trained_model import TrainedModel, print_notes
from keras_pixelcnnpp.conditions import Conditions, Maps, Part, Vectors
from keras_pixelcnnpp.data.images import SUFFIXES, Changes, fit_image, open_image
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.models.grid_posterior import GridPosterior, vectors_of
from keras_pixelcnnpp.utils.backend import graphs_as_traced
from keras_pixelcnnpp.utils.errors import UserError, as_user_error, say
from keras_pixelcnnpp.utils.files import (
    atomic_path,
    counted,
    read_array,
    write_csv,
)

MAX_GRID = 1_000_000


def write_posterior(options: PosteriorOptions) -> None:
    """Writes mean, standard deviation and interval of each component for each image or group."""
    if not 0 < options.level < 1:
        raise UserError(f"Invalid value for --level. Expected (0, 1). Received: {options.level}")
    trained = TrainedModel.named(options)
    if options.figure is not None and options.data.is_dir():
        require_no_input([options.figure], trained.files_in(options.data))
    grid = grid_of(options.grid, vectors_of(trained.model.conditions).names)
    paths, images, vectors = _images(options, trained)
    groups = prior = None
    if options.groups is not None:
        with as_user_error(f"{options.groups} cannot be read"):
            lines = options.groups.read_text().splitlines()
        groups = [*filter(None, map(str.strip, lines))]
    if options.prior is not None:
        with as_user_error(f"{options.prior} cannot be read"):
            prior = np.loadtxt(options.prior, ndmin=1)
    print(f"Scoring {counted(len(images))} under {len(grid):,} vectors")
    if prior is None and (logarithmic := _logarithmic(options.grid, trained.model.conditions)):
        say(
            f"Prior: uniform in {', '.join(logarithmic)}, also between values with equal ratios. "
            "If the simulations were log-uniform, write "
            f"{' '.join(f'-log({name})' for name in logarithmic)} of each vector to a file for "
            "--prior."
        )
    with graphs_as_traced():
        how: Any = {"observed": options.rows, "verbose": "auto"}
        found = trained.model.grid_posterior(images, grid, prior, groups=groups, **how)
    columns = found.summary(options.level, vectors if groups is None else None)
    if groups is None:
        columns = {"image": np.array(paths), **columns}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    write_csv(options.output, [[*columns], *rows])
    say(f"Wrote {options.output}")
    if options.figure is not None:
        one = len(found.log_prob) == 1
        figure = found.corner() if one else intervals_figure(found, options.level)
        with atomic_path(options.figure) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        say(f"Wrote {options.figure}")


def _logarithmic(grid: str, conditions: Conditions) -> list[str]:
    """Returns the components that vary on a grid and are logarithmic there, or in the model."""
    vectors = vectors_of(conditions)
    scales = dict(zip(vectors.names, vectors.scale, strict=True))
    parts = [(name.strip(), text) for name, _, text in (p.partition("=") for p in grid.split(","))]
    return [
        name
        for name, text in parts
        if ":" in text and (text.startswith("log:") or scales[name] == "log")
    ]


def _images(
    options: PosteriorOptions, trained: TrainedModel
) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """Returns the names of images, the images, and their true vectors if they are known."""
    model = trained.model
    if not options.data.is_dir() and options.data.suffix.lower() not in trained.suffixes:
        dataset = load_dataset(options.data, make_splits=False, **trained.values_read)
        split = dataset.split(dataset.split_to_measure())
        names = vectors_of(model.conditions).names
        vectors = split.given.get(Vectors.name)
        has_vectors = np.shape(vectors)[1:] == (len(names),)
        images = model.checked_images(split.images)
        return [*split.paths], images, vectors if has_vectors else None
    images = trained.read_files(trained.files_in(options.data))
    return [*map(str, images)], np.stack([*images.values()]), None


def intervals_figure(found: GridPosterior, level: float) -> Any:
    """Returns a figure of the intervals of each component, in one order for all."""
    from matplotlib.figure import Figure

    # A component with one value on the grid has nothing to show. A figure needs a panel.
    varied: list[int] = np.flatnonzero(np.ptp(found.grid, axis=0) > 0).tolist() or [0]
    figure = Figure(figsize=(8, 3 * len(varied)), layout="constrained")
    intervals, means = found.interval(level), found.mean
    panels = figure.subplots(len(varied), squeeze=False)[:, 0]
    order = np.argsort(means[:, varied[0]])
    for index, axes in zip(varied, panels, strict=True):
        low, high = intervals[order, index].T
        axes.vlines(np.arange(len(order)), low, high, alpha=0.4)
        axes.plot(means[order, index], ".", markersize=3)
        # A name may contain $, which is mathematics for matplotlib.
        axes.set_ylabel(found.names[index], parse_math=False)
    text = f"ordered by the mean of {found.names[varied[0]]}; intervals of {100 * level:g}%"
    axes.set_xlabel(text, parse_math=False)
    return figure


def values_given(
    options: ConditionOptions, trained: TrainedModel, count: int = 1
) -> dict[str, np.ndarray]:
    """Returns the vectors of `--vector beta=0.4,field=0` and the maps of `--map`, by name.

    They are those of `count` images, `(count, ...)`, for which one value is repeated. The result is
    empty for a model that needs neither.

    Raises:
        UserError: If the model needs a vector or a map and none is given, or the reverse.
    """
    conditions = trained.model.conditions
    given = {Vectors.name: options.vector, Maps.name: options.map}
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
    found = {}
    if Vectors.name in parts:
        vector = grid_of(options.vector, parts[Vectors.name].names, "--vector", most=1)
        found[Vectors.name] = np.repeat(vector, count, axis=0)
    if Maps.name in parts:
        maps = _read_map(options.map, parts[Maps.name], trained)
        found[Maps.name] = parts[Maps.name].parse(maps, count)
    return found


def _read_map(path: Path, part: Part, trained: TrainedModel) -> np.ndarray:
    """Reads an array, or an image file, which is resized to the maps of a model."""
    if path.suffix.lower() not in SUFFIXES or trained.has_codes:
        return read_array(path)
    height, width, channels = part.shape
    # Image files of maps are read like those of images, as in training.
    image = open_image(path, channels, as_uint16=trained.values_read["as_uint16"])
    pixels, changes = fit_image(image, (height, width)), Changes()
    changes.add(str(path), image, pixels, "center_crop")
    print_notes(changes)
    return pixels


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
