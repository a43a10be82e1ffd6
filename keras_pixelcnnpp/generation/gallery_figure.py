"""Pictures in rows and columns with words beside them, drawn."""

from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.figures import DPI, check_channels, figure_png, new_figure, picture_grid


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
    from matplotlib.transforms import Bbox

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
