"""The plot of `evaluate evidence`."""

from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.classification.evidence import Evidence
from keras_pixelcnnpp.datasets.images import to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.figures import figure_png, new_figure

# Of one pixel in a hundred the colour may be cut off, or a single one would pale all others.
BRIGHTEST = 99


def evidence_png(evidence: Evidence, class_names: Sequence[str], num_levels: int) -> bytes:
    """Draws each picture beside its evidence map, a row for each class.

    Blue speaks for the true class, red against it; the scale is the same for all maps.

    Args:
        evidence: At least one picture.
        class_names: The name of each class.
        num_levels: The number of levels of the pictures.

    Returns:
        The content of a PNG file.

    Raises:
        UserError: if the pictures have neither 1 nor 3 channels.
    """
    channels = evidence.pictures.images.shape[-1]
    if channels not in (1, 3):
        raise UserError(f"Only pictures of 1 or 3 channels can be drawn. These have {channels}.")
    labels = evidence.pictures.labels
    classes, counts = np.unique(labels, return_counts=True)
    figure = new_figure(2.4 * counts.max() + 0.8, 1.55 * len(classes) + 0.4)
    grid = figure.subplots(len(classes), 2 * counts.max(), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = max(float(np.percentile(np.abs(evidence.maps), BRIGHTEST)), 1e-9)
    for row, label in zip(grid, classes, strict=True):
        for place, index in enumerate(np.flatnonzero(labels == label)):
            drawn = _draw(row[2 * place : 2 * place + 2], evidence, index, class_names, num_levels)
            drawn.set_clim(-limit, limit)
    bar = figure.colorbar(
        drawn, ax=grid, extend="both", shrink=min(1, 3 / len(classes)), aspect=25, pad=0.01
    )
    bar.set_label("nats for the true class (blue), against it (red)")
    return figure_png(figure)


def _draw(pair, evidence, index, class_names, num_levels):
    label, predicted = evidence.pictures.labels[index], evidence.predicted[index]
    pixels = to_pixels(evidence.pictures.images[index], num_levels)
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if pixels.shape[-1] == 1 else {}
    pair[0].imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, **grey)
    pair[0].set_title(
        f"true {class_names[label]}\npredicted {class_names[predicted]}",
        fontsize=7,
        color="black" if label == predicted else "tab:red",
    )
    drawn = pair[1].imshow(evidence.maps[index], cmap="RdBu")
    against = class_names[evidence.against[index]]
    pair[1].set_title(f"against {against}\n{evidence.maps[index].sum():+.1f} nats", fontsize=7)
    return drawn
