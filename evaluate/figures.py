"""Helpers for plots and tables: figures, galleries of images, training curves."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from keras_pixelcnnpp.data.images import image_grid, stretch_note, stretched

DPI = 100


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of `width` × `height` inches."""
    # pyplot would open windows and keep figures alive.
    return Figure(figsize=(width, height), layout="constrained")


def figure_png(figure: Figure, dpi: int = DPI, **how: Any) -> bytes:
    """Renders a figure as PNG data. `how` has arguments of `Figure.savefig`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, **how)
    return buffer.getvalue()


def show_pixels(axes: Axes, pixels: np.ndarray) -> AxesImage:
    """Shows a uint8 image `[height, width, channels]`: in RGB, or its first channel in gray."""
    shown = pixels if pixels.shape[-1] == 3 else pixels[..., 0]
    return axes.imshow(shown, "gray", vmin=0, vmax=255)


def maps_figure(
    images: np.ndarray,
    maps: np.ndarray,
    titles: Sequence[str],
    signed: bool = False,
    columns: int = 1,
) -> Figure:
    """Shows each image next to its map, float `[height, width]`, in rows of `columns`.

    The maps are standardized surprisal or, if they are `signed`, evidence for (blue) or against
    (red) a class, in nats. The scale is the same for all of them.
    """
    note, images = stretch_note(images), stretched(images)
    rows = math.ceil(len(images) / columns)
    figure = new_figure(2.2 + 2.8 * columns, 0.4 + 2 * rows)
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    # Without the highest percent, a single pixel would make all others pale.
    limit = max(float(np.percentile(np.abs(maps), 99)), 1e-9)
    colors, low = ("RdBu", -limit) if signed else ("inferno", 0)
    pairs = grid.reshape(-1, 2)[: len(images)]
    for (left, right), image, nats, title in zip(pairs, images, maps, titles, strict=True):
        show_pixels(left, image)
        left.set_title(title, fontsize=9, loc="left", parse_math=False)
        shown = right.imshow(nats, colors, vmin=low, vmax=limit)
    for axes in grid.flat:
        axes.set_axis_off()
    # The bar is as wide for one row as for several.
    shape: dict[str, Any] = {"aspect": 18 * rows, "extendfrac": 0.05 / rows}
    bar = figure.colorbar(shown, ax=grid, extend="both" if signed else "max", **shape)
    words = "nats for (blue), against (red)" if signed else "standardized surprisal"
    bar.set_label(words, fontsize=9)
    if note:
        figure.supxlabel(note, fontsize=9)
    return figure


def gallery_png(
    pixels: np.ndarray, row_labels: Sequence[str], column_labels: Sequence[str]
) -> bytes:
    """Plots a table of images with labels on the left and above, as PNG data.

    `pixels` is uint8 `[rows, columns, height, width, channels]`, range 0 to 255, or uint16, which
    is stretched. A line below the images says so.
    """
    rows, columns, *shape = pixels.shape
    grid = image_grid(pixels.reshape(rows * columns, *shape), columns)
    height, width, _ = grid.shape
    # One screen pixel per image pixel, since scaling makes the file many times larger.
    figure = new_figure(width / DPI, height / DPI)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    show_pixels(axes, grid)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    words: dict[str, Any] = {"fontsize": 12, "parse_math": False}
    axes.set_yticks((np.arange(rows) + 0.5) * height / rows, row_labels, **words)
    if note := stretch_note(pixels):
        axes.set_xlabel(note, fontsize=9)
    lefts = np.arange(len(column_labels)) * width / columns
    axes.set_xticks(lefts, column_labels, rotation=30, ha="left", **words)
    return figure_png(figure, bbox_inches="tight")


def history_png(histories: Mapping[str, list[dict]], quantity: str, label: str) -> bytes | None:
    """Plots a quantity, such as `"accuracy"`, over the epochs of one or more runs.

    `histories` has results of `run.read_history` by title. Returns PNG data, or `None` without the
    quantity.
    """
    figure = new_figure(5, 3.4)
    axes = figure.subplots()
    for index, (title, rows) in enumerate(histories.items()):
        kinds = (
            ("val_", "-", "validation"),
            ("", "--", "training"),
            ("candidate_", "--", "training, candidates"),  # if it compares only some classes
        )
        for prefix, style, part in kinds:
            name = prefix + quantity
            measured = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
            if measured:
                # With a marker, because a line would not show a single epoch.
                epochs, values = zip(*measured, strict=True)
                look = f"C{index}{style}"
                axes.plot(epochs, values, look, marker=".", label=f"{title}, {part}")
    if not axes.lines:
        return None
    # The values of the first epochs, above all with averaged weights, would compress all others, so
    # the plot is at most three times as high as the later half of the curves.
    curves = [np.asarray(line.get_ydata()) for line in axes.lines]
    later = np.concatenate([values[len(values) // 2 :] for values in curves])
    low, high = np.nanmin(later), np.nanmax(later)
    if high > low:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, 2 * low - high), min(top, 2 * high - low))
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure_png(figure, dpi=160)
