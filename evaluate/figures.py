"""What all plots and tables are made with: figures, galleries of images, curves over epochs."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.data.images import check_channels, image_grid

DPI = 100


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]], **look: Any) -> None:
    """Prints a table of numbers; its first column names the rows. `look` is rich's."""
    table = Table(**look)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=not index)
    for row in rows:
        table.add_row(*row)
    # Names are not rich's to read: [old] would vanish from one, [/b] end the command.
    Console(markup=False, emoji=False).print(table)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` inches."""
    # No pyplot: a command or a training thread must not open windows or keep figures alive.
    return Figure(figsize=(width, height), layout="constrained")


def figure_png(figure: Figure, dpi: int = DPI) -> bytes:
    """Renders a figure: the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def name_lines(axes: Axes, lines: Iterable[Line2D], names: Iterable[str], **look: Any) -> None:
    """A legend of lines by names that anybody may have chosen. `look` is matplotlib's.

    A line's own label would be left out if it begins with _, and $…$ would be mathematics.
    """
    for text in axes.legend(list(lines), list(names), **look).get_texts():
        text.set_parse_math(False)


def show_pixels(axes: Axes, pixels: np.ndarray) -> AxesImage:
    """Shows an image, uint8 `[height, width, channels]`, 0 to 255, gray or in color."""
    check_channels(pixels.shape)
    return axes.imshow(
        pixels[..., 0] if pixels.shape[-1] == 1 else pixels, "gray", vmin=0, vmax=255
    )


def show_row(axes: Axes, pixels: np.ndarray, name: str) -> None:
    """Shows images `[count, height, width, channels]` side by side, with a name on their left."""
    show_pixels(axes, image_grid(pixels, columns=len(pixels)))
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.set_ylabel(name, rotation=0, ha="right", va="center", parse_math=False)


def gallery_png(
    pixels: np.ndarray, row_labels: Sequence[str], column_labels: Sequence[str]
) -> bytes:
    """Shows images in a table with words on their left and above: the content of a PNG file.

    `pixels` are uint8 `[rows, columns, height, width, channels]`, 0 to 255.
    """
    rows, columns, *shape = pixels.shape
    grid = image_grid(pixels.reshape(rows * columns, *shape), columns)
    height, width, _ = grid.shape
    # Pixel by pixel, or the file would be many times as large; a letter takes at most 11, and
    # the words above, which rise by 30 degrees, are half as high as they are long.
    left, long, right = (
        15 + 11 * max(map(len, names), default=0)
        for names in (row_labels, column_labels, column_labels[-1:])
    )
    above = 15 + long // 2 if column_labels else 15
    full_width, full_height = left + width + right, above + height + 10
    figure = new_figure(full_width / DPI, full_height / DPI)
    figure.set_layout_engine("none")
    place = left / full_width, 10 / full_height, width / full_width, height / full_height
    axes = figure.add_axes(place)
    show_pixels(axes, grid)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    words = {"fontsize": 12, "parse_math": False}
    axes.set_yticks((np.arange(rows) + 0.5) * height / rows, row_labels, **words)
    lefts = np.arange(len(column_labels)) * width / columns
    axes.set_xticks(lefts, column_labels, rotation=30, ha="left", **words)
    return figure_png(figure)


def history_png(histories: dict[str, Sequence[dict]], quantity: str, label: str) -> bytes | None:
    """Plots a quantity, such as `"accuracy"`, over the epochs of trainings, given by their titles.

    A training is what `run.read_history` returns. Solid is `val_…`, of the validation images,
    dashed of those in training. A dotted line marks where the cross-entropy joins the likelihood,
    since the curves jump there. The height is at most three times that of the later half of the
    curves. `None` if there is nothing to show.
    """
    figure = new_figure(5, 3.4)
    axes = figure.subplots()
    joins = set()
    for index, (title, rows) in enumerate(histories.items()):
        names = ("cross_entropy", "candidate_cross_entropy")
        hybrid = [row["epoch"] for row in rows if any(row.get(name) is not None for name in names)]
        if hybrid and hybrid[0] > rows[0]["epoch"]:
            joins.add(hybrid[0])
        kinds = (
            ("val_", "-", "validation"),
            ("", "--", "training"),
            ("candidate_", "--", "training, candidates"),  # where it compares some classes only
        )
        for prefix, style, part in kinds:
            name = prefix + quantity
            measured = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
            if measured:
                # One epoch is a point, which no line shows.
                marker = "o" if len(measured) == 1 else ""
                epochs, values = zip(*measured, strict=True)
                look = f"C{index}{style}{marker}"
                axes.plot(epochs, values, look, label=f"{title}, {part}")
    if not axes.lines:
        return None
    # The first epochs, above all those of averaged weights, would leave no height to the others.
    curves = [line.get_ydata() for line in axes.lines]
    later = np.concatenate([values[len(values) // 2 :] for values in curves])
    low, high = np.nanmin(later), np.nanmax(later)
    if high > low:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, 2 * low - high), min(top, 2 * high - low))
    for epoch in joins:
        axes.axvline(epoch - 0.5, color="gray", linestyle=":", zorder=0)
        words = {"rotation": 90, "va": "top", "ha": "right", "fontsize": 9, "color": "dimgray"}
        place = axes.get_xaxis_transform()
        axes.text(epoch - 0.5, 0.97, "cross-entropy joins", transform=place, **words)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure_png(figure, dpi=160)
