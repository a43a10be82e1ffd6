"""What all plots and grids of pictures are made with."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from keras_pixelcnnpp.data.images import check_channels, picture_grid

DPI = 100


def new_figure(width: float, height: float):
    """An empty matplotlib `Figure` of `width` × `height` inches."""
    # No pyplot: a command or a training thread must not open windows or keep figures alive.

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_png(figure, dpi: int = DPI, **arguments) -> bytes:
    """Draws a figure: the content of a PNG file. Other arguments are those of `savefig`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, **arguments)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures in a table.

    Args:
        pixels: uint8 `[rows, columns, height, width, channels]`, 0 to 255.
        row_labels: One text for each row.
        column_labels: One text for each column; the columns of empty ones belong to the text
            before.
    """

    pixels: np.ndarray
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]

    def png(self) -> bytes:
        """The content of a PNG file."""
        return gallery_png(self.pixels, self.row_labels, self.column_labels)


def gallery_png(
    pixels: np.ndarray, row_labels: Sequence[str], column_labels: Sequence[str]
) -> bytes:
    """Draws pictures in rows and columns with words beside them, each pixel sharp.

    Args:
        pixels: uint8 `[rows, columns, height, width, channels]`, 0 to 255, with 1 or 3 channels.
        row_labels: One text for each row.
        column_labels: One text for each column; the columns of empty ones belong to the text
            before.

    Returns:
        The content of a PNG file.

    Raises:
        UserError: if the pictures have another number of channels.
    """
    rows, columns = pixels.shape[:2]
    grid = picture_grid(pixels.reshape(rows * columns, *pixels.shape[2:]), columns, gap=1)
    check_channels(grid)
    height, width, channels = grid.shape
    figure = new_figure(width / DPI, height / DPI)
    # Axes of exactly the grid's size in dots, or pixels would be of unequal sizes.
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(grid[..., 0] if channels == 1 else grid, cmap="gray", vmin=0, vmax=255)
    middles = (np.arange(rows) + 0.5) * height / rows
    axes.set_yticks(middles, map(_shortened, row_labels), parse_math=False)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for first, last, text in _column_spans(column_labels):
        _write_above(axes, first * width / columns, last * width / columns, _shortened(text))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return figure_png(figure, bbox_inches=_whole_dots(figure))


def _whole_dots(figure, margin: int = 8):
    """The box around all that is drawn; cut between dots, a row of pixels would get lost."""
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    low = np.floor(box.min * DPI) - margin
    high = np.ceil(box.max * DPI) + margin
    return Bbox([low / DPI, high / DPI])


def _column_spans(labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Each text with the columns that it stands for: the first, and the one after the last."""
    starts = [place for place, text in enumerate(labels) if text or place == 0]
    ends = [*starts[1:], len(labels)]
    return [(start, end, labels[start]) for start, end in zip(starts, ends, strict=True)]


def _write_above(axes, left: float, right: float, text: str) -> None:
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


def history_png(histories: dict[str, Sequence[dict]], quantity: str, label: str) -> bytes | None:
    """Draws a quantity over the epochs of one or several trainings.

    Args:
        histories: By the training's title, what `history.read_history` returns.
        quantity: A name in it, such as `"accuracy"`. With `val_` before it, it is that of the
            validation pictures; that line is solid, the other dashed.
        label: Of the vertical axis.

    Returns:
        The content of a PNG file; `None` if there is nothing to draw.
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
