"""Plots which features the incremental sampler keeps and computes: incremental_sampling.png.

    python examples/incremental_sampling.py [--output docs/images/incremental_sampling.png]

The kernels are those of PixelCNN++: 2×3 in the vertical stack and 2×2 in the horizontal stack.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

SIZE, ROW, COLUMN = 8, 4, 3
COMPUTED, KEPT, PAST, LATER = "#e8803a", "#6f9fd8", "#dcdcdc", "white"
LEGEND = {
    "computed now": COMPUTED,
    "kept from before": KEPT,
    "no longer needed": PAST,
    "not computed yet": LATER,
}


def naive(row, column):
    """Colors the naive loop, which evaluates the whole network for every pixel."""
    return COMPUTED


def new_row(row, column):
    """Colors the vertical stack when a row begins."""
    if row == ROW:
        return COMPUTED
    return LATER if row > ROW else KEPT if row == ROW - 1 else PAST


def new_pixel(row, column):
    """Colors the horizontal stack at a new pixel."""
    if (row, column) == (ROW, COLUMN):
        return COMPUTED
    if (row, column) > (ROW, COLUMN):
        return LATER
    # Kept are the left part of this row, and the row above from one column to the left on.
    return KEPT if row == ROW or (row == ROW - 1 and column >= COLUMN - 1) else PAST


def lower_resolutions(row, level):
    """Colors the resolutions that run at a row; each runs half as often as the previous one."""
    return COMPUTED if row % 2**level == 0 else KEPT


def draw_cells(axes, color, columns=SIZE):
    """Fills each cell with the color that `color(row, column)` returns."""
    for row in range(SIZE):
        for column in range(columns):
            cell = {"facecolor": color(row, column), "edgecolor": "#888888", "linewidth": 0.8}
            axes.add_patch(Rectangle((column, row), 1, 1, **cell))
    axes.set(xlim=(-0.1, columns + 0.1), ylim=(SIZE + 0.1, -0.1), xticks=[], yticks=[])
    axes.set_aspect("equal" if columns == SIZE else "auto")
    axes.spines[:].set_visible(False)


def outline(axes, column, row, width, height):
    """Adds a thick frame around some cells."""
    frame = {"fill": False, "edgecolor": "black", "linewidth": 2.5}
    axes.add_patch(Rectangle((column, row), width, height, **frame))


def plot():
    """Plots the naive loop, a new row, a new pixel, and lower resolutions."""
    figure = Figure(figsize=(7.5, 8.6), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    draw_cells(first, naive)
    outline(first, COLUMN, ROW, 1, 1)
    first.set_title("Naive loop, each pixel:\nall features, one position is used", fontsize=12)
    draw_cells(second, new_row)
    outline(second, COLUMN - 1, ROW - 1, 3, 2)
    second.set_title("New row, vertical stack:\none row of features", fontsize=12)
    draw_cells(third, new_pixel)
    outline(third, COLUMN - 1, ROW - 1, 2, 2)
    third.set_title("New pixel, horizontal stack:\none position", fontsize=12)
    draw_cells(fourth, lower_resolutions, columns=3)
    fourth.set_xticks([0.5, 1.5, 2.5], ["full", "half", "quarter"], fontsize=11)
    fourth.set_yticks([row + 0.5 for row in range(SIZE)], range(SIZE), fontsize=11)
    fourth.tick_params(length=0)
    fourth.set_ylabel("row", fontsize=11)
    fourth.set_title("Resolutions\nthat run at a row", fontsize=12)
    handles = [
        *(
            Patch(facecolor=color, edgecolor="#888888", label=what)
            for what, color in LEGEND.items()
        ),
        Patch(fill=False, edgecolor="black", linewidth=2.5, label="used by the convolution"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=12, frameon=False)
    return figure


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("incremental_sampling.png"))
    options = parser.parse_args(arguments)
    plot().savefig(options.output, dpi=130)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
