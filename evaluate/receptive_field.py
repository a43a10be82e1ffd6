"""`evaluate receptive-field`: which pixels a pixel of a trained or fresh network sees."""

from collections.abc import Sequence

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.data.dataset import LabelledImages
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure, print_table
from keras_pixelcnnpp.files import write_bytes, write_json
from keras_pixelcnnpp.models.archive import architecture, load_trained_model
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.receptive_field import count_seen, pixel_influence, typical_targets
from keras_pixelcnnpp.run import RunFolder

PICTURES_AT_ONCE = 4


def measure(folder: RunFolder, *, untrained: bool, pictures: int, options: dict) -> None:
    """Measures what a few pixels see, draws and writes it."""
    config = folder.read_config()
    if untrained:
        keras.utils.set_random_seed(0)
        model = _fresh_model(folder, config)
    else:
        model = load_trained_model(folder.require_model("pixelcnnpp"))
    dataset = folder.load_data()
    with_labels = model.num_classes > 0
    split = dataset.pictures("validation", with_labels=with_labels, limit=pictures)
    if untrained:
        model.initialize(split.images, split.labels)
    targets = typical_targets(*model.image_shape[:2])
    influence = _mean_influence(model, split, targets)
    counts = [count_seen(values, target) for values, target in zip(influence, targets, strict=True)]
    print_table(
        ("row", "column", "earlier", "seen", "at or after, seen", "blind spot seen"),
        [
            (
                *(str(count[name]) for name in ("row", "column", "earlier", "seen", "later_seen")),
                f"{count['blind_spot_seen']} of {count['blind_spot']}",
            )
            for count in counts
        ],
    )
    write_bytes(folder.reports / "receptive_field.png", receptive_field_png(influence, counts))
    report = {
        "options": options,
        "trained": not untrained,
        "pictures": len(split),
        "targets": counts,
    }
    write_json(folder.reports / "receptive_field.json", report)
    print(f"Wrote receptive_field.png and receptive_field.json to {folder.reports}")


def _mean_influence(
    model: AutoregressiveModel, pictures: LabelledImages, targets: Sequence[tuple[int, int]]
) -> np.ndarray:
    """`pixel_influence` of any number of pictures, a few at once, which bounds the memory."""
    starts, total = range(0, len(pictures), PICTURES_AT_ONCE), 0
    tick = progress(len(starts))
    for start in starts:
        few = pictures.take(np.arange(start, min(start + PICTURES_AT_ONCE, len(pictures))))
        total += len(few) * pixel_influence(model, few.images, few.labels, targets, seed=start)
        tick()
    return total / len(pictures)


def _fresh_model(folder: RunFolder, config: dict) -> AutoregressiveModel:
    if "pixelcnnpp" not in config:
        raise UserError(f"{folder.config_json} has no PixelCNN++: only a baseline was trained.")
    try:
        trained = config["pixelcnnpp"]
        of_network = architecture(trained["options"].get("architecture", "pixelcnnpp"))
        return of_network(**trained["model"])
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder.config_json} is damaged: pixelcnnpp.model is not that of a PixelCNN++: "
            f"{reason:.200}"
        ) from error


def receptive_field_png(
    influence: np.ndarray, counts: Sequence[dict], titles: Sequence[str] | None = None
) -> bytes:
    """Draws what a few pixels see of the picture, a panel for each: a PNG file's content.

    From the library's `pixel_influence`, and `count_seen` of each target. A title takes the place
    of row and column.
    """
    titles = titles or [f"row {count['row']}, column {count['column']}" for count in counts]
    figure = new_figure(3.1 * len(counts) + 1.0, 4.0)
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    # Relative to the largest; six orders of magnitude tell near from far.
    scale = LogNorm(1e-6, 1, clip=True)
    for axes, values, count, title in zip(panels, influence, counts, titles, strict=True):
        axes.set_facecolor("#e4e4e4")
        relative = values / max(values.max(), np.finfo("float32").tiny)
        image = axes.imshow(np.ma.masked_equal(relative, 0), cmap="YlGnBu", norm=scale)
        _outline_target(axes, count, values.shape)
        axes.set_title(
            f"{title}\n"
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


def _outline_target(axes: Axes, count: dict, shape: tuple[int, int]) -> None:
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
