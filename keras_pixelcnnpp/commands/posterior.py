"""The command `posterior`."""

from typing import Any

import numpy as np

from keras_pixelcnnpp.commands.given import given_map, grid_of, pairs_in, require_given
from keras_pixelcnnpp.commands.helpers import require_no_input
from keras_pixelcnnpp.commands.options import PosteriorOptions
from keras_pixelcnnpp.commands.trained_model import TrainedModel, print_notes
from keras_pixelcnnpp.conditions import Conditions, Maps, Vectors
from keras_pixelcnnpp.data.images import Changes
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.models.grid_posterior import GridPosterior, vectors_of
from keras_pixelcnnpp.utils.backend import graphs_as_traced
from keras_pixelcnnpp.utils.errors import UserError, as_user_error, say
from keras_pixelcnnpp.utils.files import (
    atomic_path,
    counted,
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
    paths, images, vectors, condition = _images(options, trained)
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
        how |= {"groups": groups, "condition": condition}
        found = trained.model.grid_posterior(images, grid, prior, **how)
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
) -> tuple[list[str], np.ndarray, np.ndarray | None, dict[str, np.ndarray] | None]:
    """Returns the names of images, the images, their true vectors if known, and their maps."""
    model = trained.model
    has_maps = any(isinstance(part, Maps) for part in model.conditions)
    if not options.data.is_dir() and options.data.suffix.lower() not in trained.suffixes:
        dataset = load_dataset(options.data, make_splits=False, **trained.values_read)
        split = dataset.split(dataset.split_to_measure())
        names = vectors_of(model.conditions).names
        vectors = split.given.get(Vectors.name)
        has_vectors = np.shape(vectors)[1:] == (len(names),)
        images = model.checked_images(split.images)
        condition = {Maps.name: split.given[Maps.name]} if Maps.name in split.given else None
        if has_maps and condition is None and options.map is not None:
            condition = given_map(options.map, trained).values
        return [*split.paths], images, vectors if has_vectors else None, condition
    data, maps = pairs_in(options.data, trained)
    images, maps = trained.read_files(trained.files_in(data)), options.map or maps
    require_given(model.conditions, {Maps.name: maps})
    condition = None
    if has_maps:
        given, changes = given_map(maps, trained), Changes()
        paths = [str(file.relative_to(data)) if data.is_dir() else file.name for file in images]
        condition = given.with_maps(given.maps_of(trained, paths, changes=changes))
        print_notes(changes)
    return [*map(str, images)], np.stack([*images.values()]), None, condition


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
