"""The plot of `evaluate receptive-field`."""

from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.figures import figure_png, new_figure


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
