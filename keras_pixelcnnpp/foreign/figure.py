"""The plot of `evaluate foreign`."""

import numpy as np

from keras_pixelcnnpp.datasets.images import to_pixels
from keras_pixelcnnpp.figures import figure_png, new_figure, picture_grid
from keras_pixelcnnpp.foreign.detection import Detection

TITLES = {
    "log_likelihood": "log p(x)",
    "complexity_corrected": "log p(x), complexity-corrected",
    "pixelcnnpp_max_softmax": "PixelCNN++, largest p(y | x)",
    "baseline_max_softmax": "baseline CNN, largest p(y | x)",
}
MARKERS = ("o", "D", "s", "^")
EXAMPLES = 6


def foreign_png(
    detection: Detection,
    images: np.ndarray,
    foreign: dict[str, np.ndarray],
    num_levels: int,
    familiar_name: str = "familiar",
) -> bytes:
    """Draws a row for each set: some of its pictures, their bits/dim, and how well it is detected.

    Args:
        detection: What the detectors said about them.
        images: uint8 levels `[count, height, width, channels]`, the familiar pictures.
        foreign: The foreign ones by name.
        num_levels: The number of levels.
        familiar_name: What the familiar pictures are called.

    Returns:
        The content of a PNG file.
    """
    figure = new_figure(12, 1.05 * (len(foreign) + 1) + 0.6)
    grid = figure.subplots(len(foreign) + 1, 3, width_ratios=(2.6, 2, 2), squeeze=False)
    sets = {"": detection.familiar, **detection.foreign}
    edges = _edges([scores["log_likelihood"] for scores in sets.values()])
    _draw_examples(grid[0, 0], familiar_name, images, num_levels)
    _draw_bits(grid[0, 1], edges, detection.familiar, None)
    for row, (name, given) in zip(grid[1:], foreign.items(), strict=True):
        _draw_examples(row[0], name, given, num_levels)
        _draw_bits(row[1], edges, detection.familiar, detection.foreign[name])
        points = _draw_areas(row[2], detection.auroc(name))
    grid[0, 2].set_axis_off()
    names = [TITLES[detector] for detector in detection.detectors]
    grid[0, 2].legend(points, names, loc="center", title="detector", fontsize=8, title_fontsize=8)
    for axes in grid[:-1, 1:].flat:
        axes.tick_params(labelbottom=False)
    grid[-1, 1].set_xlabel("bits/dim of p(x); familiar pictures grey")
    grid[-1, 2].set_xlabel("AUROC; 0.5 is guessing")
    return figure_png(figure)


def _edges(bits: list[np.ndarray]) -> np.ndarray:
    low, high = min(map(np.min, bits)), max(map(np.max, bits))
    margin = 0.03 * max(high - low, 1e-3)
    return np.linspace(low - margin, high + margin, 60)


def _draw_examples(axes, name, images, num_levels) -> None:
    examples = to_pixels(images[:EXAMPLES], num_levels)
    grid = picture_grid(examples, columns=EXAMPLES)
    grey = grid.shape[-1] == 1
    axes.imshow(grid[..., 0] if grey else grid, cmap="gray" if grey else None, vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.set_ylabel(name, rotation=0, ha="right", va="center")


def _draw_bits(axes, edges, familiar, foreign) -> None:
    shared = {"bins": edges, "density": True}
    axes.hist(familiar["log_likelihood"], color="grey", alpha=0.5, **shared)
    if foreign is not None:
        axes.hist(foreign["log_likelihood"], color="tab:red", alpha=0.6, **shared)
    axes.set(xlim=(edges[0], edges[-1]), yticks=[])


def _draw_areas(axes, areas) -> list:
    axes.axvline(0.5, color="grey", linestyle=":")
    places = np.linspace(1, 0, len(areas))
    points = [
        axes.plot(area, place, marker, color=f"C{index}", markersize=6, clip_on=False)[0]
        for index, (area, place, marker) in enumerate(
            zip(areas.values(), places, MARKERS, strict=False)
        )
    ]
    for area, place in zip(areas.values(), places, strict=True):
        side = {"ha": "left", "x": area + 0.03} if area < 0.5 else {"ha": "right", "x": area - 0.03}
        axes.text(**side, y=place, s=f"{area:.2f}", va="center", fontsize=7)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.4, 1.4), yticks=[])
    return points
