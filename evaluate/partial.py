"""`evaluate classification --partial`: how much of an image the two classifiers need to see."""

import numpy as np

from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.evaluate.metrics.classifiers import classification_metrics

# Points of the curve, at most; of PixelCNN++ each costs nothing, of the CNN a pass.
MOST_PARTS = 16


def part_rows(height: int) -> np.ndarray:
    """How many of the first rows are seen, int `[parts]` from 0 to the height."""
    return np.linspace(0, height, min(height, MOST_PARTS) + 1).round().astype(int)


def first_rows(images: np.ndarray, row: int, filling: np.ndarray) -> np.ndarray:
    """Images whose rows from `row` on are those of another one, for a model that needs all rows."""
    seen = images.copy()
    seen[:, row:] = filling[row:]
    return seen


def partial_report(
    labels: np.ndarray, rows: np.ndarray, probabilities: dict[str, np.ndarray]
) -> dict:
    """The numbers of `partial.json`.

    Args:
        labels: True classes, int `[count]`.
        rows: How many rows are seen, int `[parts]`; the last is the height.
        probabilities: Of each model, float `[count, parts, classes]`.
    """
    models = {}
    for name, given in probabilities.items():
        measured = [classification_metrics(labels, given[:, part]) for part in range(len(rows))]
        models[name] = {key: [numbers[key] for numbers in measured] for key in measured[0]}
    return {
        "count": len(labels),
        "rows": rows.tolist(),
        "shares": (rows / rows[-1]).tolist(),
        "models": models,
    }


def partial_png(report: dict, titles: dict[str, str]) -> bytes:
    """Draws accuracy over the share of the image seen: the content of a PNG file.

    `titles` are what `model_titles` gives.
    """
    figure = new_figure(5, 3.6)
    axes = figure.subplots()
    shares = 100 * np.array(report["shares"])
    for index, (name, numbers) in enumerate(report["models"].items()):
        low, high = 100 * np.transpose(numbers["accuracy_ci95"])
        axes.fill_between(shares, low, high, color=f"C{index}", alpha=0.15, linewidth=0)
        accuracy = 100 * np.array(numbers["accuracy"])
        axes.plot(shares, accuracy, f"C{index}o-", markersize=3, label=titles[name])
    axes.set(
        xlim=(-2, 102),
        ylim=(0, 102),
        xlabel="share of the image seen, from above (%)",
        ylabel="accuracy (%), with 95 % intervals",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure_png(figure, dpi=160)
