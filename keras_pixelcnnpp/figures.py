"""Pictures about pictures: the plots that logs and reports share."""

import io
import math
from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.errors import UserError

_DPI = 100


def confusion_matrix_png(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], title: str = ""
) -> bytes:
    """Draws a confusion matrix: rows are true classes, columns predicted ones.

    Args:
        labels: int `[count]`, the true classes.
        predicted: int `[count]`, the predicted ones.
        class_names: The name of each class; classes without pictures are drawn too.
        title: A line above the matrix.

    Returns:
        The content of a PNG file.
    """
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    num_classes = len(class_names)
    matrix = confusion_matrix(labels, predicted, labels=np.arange(num_classes))
    size = 3.0 + 0.5 * num_classes
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    long_names = max(map(len, class_names)) > 3
    ConfusionMatrixDisplay(matrix, display_labels=class_names).plot(
        ax=axes, cmap="Blues", xticks_rotation=45 if long_names else "horizontal"
    )
    axes.set_title(title)
    return figure_png(figure)


def fusion_png(rows: Sequence[dict]) -> bytes:
    """Draws what `train fusion` found: accuracy and bits/dim of each strategy and objective.

    Args:
        rows: From `keras_pixelcnnpp.training.fusion.summarize`.

    Returns:
        The content of a PNG file.
    """
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    objectives = list(dict.fromkeys(row["objective"] for row in rows))
    figure = new_figure(9, 1.6 + 0.45 * len(strategies))
    accuracy, bits = figure.subplots(1, 2, sharey=True)
    for index, objective in enumerate(objectives):
        chosen = [row for row in rows if row["objective"] == objective]
        # Side by side, or the intervals would cover one another.
        shift = 0.24 * (index - (len(objectives) - 1) / 2)
        places = [strategies.index(row["strategy"]) + shift for row in chosen]
        means = np.array([100 * row["accuracy"] for row in chosen])
        low, high = 100 * np.array([row["accuracy_ci95"] for row in chosen]).T
        accuracy.errorbar(
            means, places, xerr=(means - low, high - means), fmt="o", capsize=3, label=objective
        )
        bits.plot([row["bits_per_dim"] for row in chosen], places, "o", label=objective)
    accuracy.set_yticks(range(len(strategies)), strategies)
    accuracy.invert_yaxis()
    accuracy.set_xlabel("accuracy (%), 95 % interval")
    bits.set_xlabel("bits/dim of p(x)")
    bits.legend(title="objective", loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in (accuracy, bits):
        axes.grid(axis="x", alpha=0.3)
    return figure_png(figure)


def receptive_field_png(influence: np.ndarray, counts: Sequence[dict]) -> bytes:
    """Draws what a few pixels see of the picture, a panel for each.

    Args:
        influence: Float `[targets, height, width]`, from `receptive_field.pixel_influence`.
        counts: From `receptive_field.count_seen`, one for each target.

    Returns:
        The content of a PNG file.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(3.1 * len(counts) + 1.0, 4.0)
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    # Relative to the largest; six orders of magnitude tell near from far.
    scale = LogNorm(1e-6, 1, clip=True)
    for axes, values, count in zip(panels, influence, counts, strict=True):
        axes.set_facecolor("#e4e4e4")
        relative = values / max(values.max(), np.finfo("float32").tiny)
        image = axes.imshow(np.ma.masked_equal(relative, 0), cmap="YlGnBu", norm=scale)
        _outline_target(axes, count, values.shape)
        axes.set_title(
            f"row {count['row']}, column {count['column']}\n"
            f"sees {count['seen']:,} of {count['earlier']:,} earlier pixels\n"
            f"and {count['later_seen']:,} others",
            fontsize=10,
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4, integer=True))
    bar = figure.colorbar(image, ax=panels, shrink=0.75, extend="min")
    bar.set_label("influence, relative to the largest")
    figure.supxlabel(
        "grey: no influence    solid: everything from the pixel on    "
        "dashed: to its right, what masked 3×3 convolutions never see",
        fontsize=9,
    )
    return figure_png(figure)


def _outline_target(axes, count: dict, shape: tuple[int, int]) -> None:
    height, width = shape
    row, column = count["row"], count["column"]
    border = [(-0.5, row + 0.5), (column - 0.5, row + 0.5), (column - 0.5, row - 0.5)]
    border.append((width - 0.5, row - 0.5))
    axes.plot(*zip(*border, strict=True), color="#d62728", linewidth=1.5)
    axes.plot(column, row, "s", color="#d62728", markersize=4)
    # From the pixel's upper right corner, one to the right for each row up.
    top = min(row, width - 1 - column)
    cone = [column + 0.5, column + 0.5 + top], [row - 0.5, row - 0.5 - top]
    axes.plot(*cone, "--", color="#d62728", linewidth=1.2)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


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
    from matplotlib.ticker import MaxNLocator

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


def picture_grid(pixels: np.ndarray, columns: int | None = None, gap: int = 1) -> np.ndarray:
    """Lays pictures out in a grid, row by row, small ones enlarged to be seen.

    Args:
        pixels: uint8 `[count, height, width, channels]`, 0 to 255.
        columns: The number of columns; by default the grid is about square.
        gap: White pixels between the pictures, before enlarging.

    Returns:
        uint8 `[grid_height, grid_width, channels]`.
    """
    count, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8
    )
    for index, picture in enumerate(pixels):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        grid[top : top + height, left : left + width] = picture
    enlarge = max(1, 64 // max(height, width))
    return grid.repeat(enlarge, axis=0).repeat(enlarge, axis=1)


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
    _check_channels(grid)
    height, width, channels = grid.shape
    figure = new_figure(width / _DPI, height / _DPI)
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
    low = np.floor(box.min * _DPI) - margin
    high = np.ceil(box.max * _DPI) + margin
    return Bbox([low / _DPI, high / _DPI])


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


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encodes a picture as a PNG file.

    Args:
        pixels: uint8 `[height, width, channels]`, 0 to 255, with 1 or 3 channels.

    Raises:
        UserError: if it has another number of channels.
    """
    from PIL import Image

    _check_channels(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _check_channels(pixels: np.ndarray) -> None:
    if pixels.shape[-1] not in (1, 3):
        raise UserError(
            "Only pictures of 1 or 3 channels can be written as PNG. "
            f"These have {pixels.shape[-1]}."
        )


def png_pixels(png: bytes) -> np.ndarray:
    """Decodes a PNG file: uint8 `[height, width, 3]`, 0 to 255."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def new_figure(width: float, height: float):
    """An empty matplotlib `Figure` of `width` × `height` inches."""
    # No pyplot: a command or a training thread must not open windows or keep figures alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_png(figure, dpi: int = _DPI, **arguments) -> bytes:
    """Draws a figure: the content of a PNG file. Other arguments are those of `savefig`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, **arguments)
    return buffer.getvalue()
