"""What all plots and tables are made with, pictures with words beside them, curves over epochs."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.data.images import check_channels, picture_grid

DPI = 100


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]], **look) -> None:
    """Prints a table of numbers; its first column names the rows. `look` is rich's."""
    table = Table(**look)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    # Names are not rich's to read: [old] would vanish from one, [/b] end the command.
    Console(markup=False, emoji=False).print(table)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` inches."""
    # No pyplot: a command or a training thread must not open windows or keep figures alive.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_png(figure: Figure, dpi: int = DPI, **arguments) -> bytes:
    """Draws a figure: the content of a PNG file. Other arguments are those of `savefig`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, **arguments)
    return buffer.getvalue()


def name_lines(axes: Axes, lines: Iterable[Line2D], names: Iterable[str], **look) -> None:
    """A legend of lines by names that anybody may have chosen. `look` is matplotlib's.

    A line's own label would be left out if it begins with _, and $…$ would be mathematics.
    """
    for text in axes.legend(list(lines), list(names), **look).get_texts():
        text.set_parse_math(False)


def show_pixels(axes: Axes, pixels: np.ndarray) -> AxesImage:
    """Draws a picture, uint8 `[height, width, channels]`, 0 to 255, grey or in colour."""
    check_channels(pixels)
    return axes.imshow(
        pixels[..., 0] if pixels.shape[-1] == 1 else pixels, "gray", vmin=0, vmax=255
    )


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures in a table: uint8 `[rows, columns, height, width, channels]`, 0 to 255.

    A text for each row and column; columns without one belong to the text before.
    """

    pixels: np.ndarray
    row_labels: Sequence[str]
    column_labels: Sequence[str]

    def png(self) -> bytes:
        """The content of a PNG file: the pictures, each pixel sharp, with the words beside them."""
        rows, columns, *shape = self.pixels.shape
        grid = picture_grid(self.pixels.reshape(rows * columns, *shape), columns, gap=1)
        height, width, _ = grid.shape
        figure = new_figure(width / DPI, height / DPI)
        # Axes of exactly the grid's size in dots, or pixels would be of unequal sizes.
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        show_pixels(axes, grid)
        middles = (np.arange(rows) + 0.5) * height / rows
        axes.set_yticks(middles, map(_shortened, self.row_labels), parse_math=False)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for first, last, text in _column_spans(self.column_labels):
            _write_above(axes, first * width / columns, last * width / columns, _shortened(text))
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        return figure_png(figure, bbox_inches=_whole_dots(figure))


def _column_spans(labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Each text with the columns that it stands for: the first, and the one after the last."""
    starts = [place for place, text in enumerate(labels) if text or place == 0]
    ends = [*starts[1:], len(labels)]
    return [(start, end, labels[start]) for start, end in zip(starts, ends, strict=True)]


def _write_above(axes: Axes, left: float, right: float, text: str) -> None:
    # About 8 dots a letter; what is wider than its columns would run into the next text.
    fits = 8 * len(text) <= right - left
    axes.plot([left + 6, right - 6], [-6, -6], color="0.6", linewidth=1, clip_on=False)
    axes.text(
        (left + right) / 2,
        -12,
        text,
        ha="center" if fits else "left",
        va="bottom",
        rotation=0 if fits else 35,
        rotation_mode="anchor",
        parse_math=False,
    )


def _shortened(text: str, most: int = 24) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _whole_dots(figure: Figure, margin: int = 8) -> Bbox:
    """The box around all that is drawn; cut between dots, a row of pixels would get lost."""
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    low = np.floor(box.min * DPI) - margin
    high = np.ceil(box.max * DPI) + margin
    return Bbox([low / DPI, high / DPI])


def history_png(histories: dict[str, Sequence[dict]], quantity: str, label: str) -> bytes | None:
    """Draws a quantity, such as `"accuracy"`, over the epochs of trainings, given by their titles.

    A training is what `run.read_history` returns. Solid is `val_…`, of the validation pictures,
    dashed of those in training. `None` if there is nothing to draw.
    """
    figure = new_figure(5, 3.4)
    axes = figure.subplots()
    for index, (title, rows) in enumerate(histories.items()):
        for prefix, style, part in (("val_", "-", "validation"), ("", "--", "training")):
            name = prefix + quantity
            measured = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
            if measured:
                # One epoch is a point, which no line shows.
                marker = "o" if len(measured) == 1 else None
                axes.plot(
                    *zip(*measured, strict=True),
                    linestyle=style,
                    marker=marker,
                    color=f"C{index}",
                    linewidth=1.8 if prefix else 1.2,
                    label=f"{title}, {part}",
                )
    if not axes.lines:
        return None
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure_png(figure, dpi=160)
