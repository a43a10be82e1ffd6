"""The command `posterior`, and the vectors that users write in options."""

import itertools
import math

import numpy as np

from keras_pixelcnnpp.commands.model_commands import PosteriorOptions
from keras_pixelcnnpp.commands.trained_model import TrainedModel, images_in, read_files
from keras_pixelcnnpp.data.images import SUFFIXES
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.layers.conditions import Conditions
from keras_pixelcnnpp.models.grid_posterior import GridPosterior, vectors_of
from keras_pixelcnnpp.utils.backend import graphs_as_traced
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import atomic_path, check_output, counted, write_csv

MAX_GRID = 1_000_000


def write_posterior(options: PosteriorOptions) -> None:
    """Writes mean, standard deviation and interval of each component for each image."""
    if not 0 < options.level < 1:
        raise UserError(f"Invalid value for --level. Expected (0, 1). Received: {options.level}")
    inputs = [options.data, *TrainedModel.files(options)]
    for output in filter(None, (options.output, options.figure)):
        check_output(output, options.overwrite, inputs)
    trained = TrainedModel.named(options)
    names = vectors_of(trained.model).names
    grid = grid_of(options.grid, names)
    paths, images = _images(options, trained)
    print(f"Scoring {counted(len(images))} under {len(grid):,} vectors")
    with graphs_as_traced():
        found = trained.model.grid_posterior(images, grid, verbose="auto")
    deviation = np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2))
    columns = [found.mean, deviation, *np.moveaxis(found.interval(options.level), -1, 0)]
    kinds = ("mean", "sd", "low", "high")
    header = ["image", *(f"{name}_{kind}" for name in names for kind in kinds)]
    # (images, components, kinds) in the order of the header
    numbers = np.stack(columns, axis=-1).reshape(len(images), -1)
    rows = [[path, *(f"{x:.6g}" for x in row)] for path, row in zip(paths, numbers, strict=True)]
    write_csv(options.output, [header, *rows])
    say(f"Wrote {options.output}")
    if options.figure is not None:
        _write_figure(options, found, names)
        say(f"Wrote {options.figure}")


def _images(options: PosteriorOptions, trained: TrainedModel) -> tuple[list[str], np.ndarray]:
    if not options.data.is_dir() and options.data.suffix.lower() not in SUFFIXES:
        dataset = load_dataset(options.data, make_splits=False)
        split = dataset.split(dataset.split_to_measure())
        model = trained.model
        return [*split.paths], model.checked_images(split.images)
    images = read_files(images_in(options.data), trained.read)
    return [*map(str, images)], np.stack([*images.values()])


def _write_figure(options: PosteriorOptions, found: GridPosterior, names: tuple[str, ...]) -> None:
    from matplotlib.figure import Figure

    # A component with one value on the grid has nothing to show. A figure needs a panel.
    varied: list[int] = np.flatnonzero(np.ptp(found.grid, axis=0) > 0).tolist() or [0]
    figure = Figure(figsize=(8, 3 * len(varied)), layout="constrained")
    intervals, means = found.interval(options.level), found.mean
    panels = figure.subplots(len(varied), squeeze=False)[:, 0]
    for index, axes in zip(varied, panels, strict=True):
        order = np.argsort(means[:, index])
        low, high = intervals[order, index].T
        axes.vlines(np.arange(len(order)), low, high, alpha=0.4)
        axes.plot(means[order, index], ".", markersize=3)
        # A name may contain $, which is mathematics for matplotlib.
        axes.set_ylabel(names[index], parse_math=False)
    axes.set_xlabel(f"images, ordered by the mean; intervals of {100 * options.level:g}%")
    with atomic_path(options.figure) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def vector_of(text: str | None, conditions: Conditions) -> np.ndarray | None:
    """Returns the vector in an option `--condition beta=0.4,field=0`, float `(size,)`.

    `None` is the result for a model that is not conditioned on vectors.

    Raises:
        UserError: If the model needs a vector and no vector is given, or the reverse.
    """
    if conditions.num_candidates:
        if text is not None:
            raise UserError(
                "Invalid value for --condition. Expected none for a model of "
                f"{conditions.description}. Received: {text}"
            )
        return None
    if text is None:
        example = ",".join(f"{name}=…" for name in conditions.names)
        raise UserError(
            f"Missing option --condition {example}: the model is conditioned on "
            f"{conditions.description}"
        )
    return grid_of(text, conditions.names, "--condition", most=1)[0]


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
    """Returns the values that `LOW:HIGH:COUNT` or a number stand for."""
    try:
        numbers = [float(part) for part in text.split(":")]
        low, high, count = numbers if len(numbers) == 3 else (*numbers, *numbers, 1)
        good = all(map(math.isfinite, numbers)) and count in range(1, MAX_GRID + 1)
    except ValueError:
        good = False
    if not good:
        expected = "a number" if option == "--condition" else "LOW:HIGH:COUNT or a number"
        raise UserError(f"Invalid value for {option}. Expected {expected}. Received: {text}")
    return np.linspace(low, high, int(count))
