"""`evaluate classification --partial`: how much of a picture the two classifiers need to see."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from keras_pixelcnnpp.data.batches import mean_picture
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure, print_table
from keras_pixelcnnpp.evaluate.metrics.classifiers import classification_metrics

# Points of the curve, at most; of PixelCNN++ each costs nothing, of the CNN a pass.
MOST_PARTS = 16
SHOWN = (0.25, 0.5, 0.75, 1.0)  # in the table that is printed


def part_rows(height: int) -> np.ndarray:
    """How many of the first rows are seen, int `[parts]` from 0 to the height."""
    return np.linspace(0, height, min(height, MOST_PARTS) + 1).round().astype(int)


@dataclass(frozen=True, eq=False)
class Parts:
    """The first `rows` of a picture, int `[parts]` from 0 to the height, and what fills the rest.

    `filling` is a picture, uint8 levels `[height, width, channels]`.
    """

    rows: np.ndarray
    filling: np.ndarray

    @classmethod
    def of(cls, train: np.ndarray) -> Self:
        """Parts of pictures like `train`, filled with their mean, rounded to levels."""
        return cls(part_rows(train.shape[1]), mean_picture(train))

    def pictures(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """The pictures as a model sees them that needs whole ones, for each part."""
        for row in self.rows:
            seen = images.copy()
            seen[:, row:] = self.filling[row:]
            yield seen


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
        models[name] = {
            key: [numbers[key] for numbers in measured]
            for key in ("accuracy", "accuracy_ci95", "log_loss", "ece")
        }
    return {
        "count": len(labels),
        "rows": rows.tolist(),
        "shares": (rows / rows[-1]).tolist(),
        "models": models,
    }


def partial_png(report: dict, titles: dict[str, str]) -> bytes:
    """Draws accuracy over the share of the picture seen: the content of a PNG file.

    `titles` are what `model_titles` gives.
    """
    figure = new_figure(5, 3.6)
    axes = figure.subplots()
    shares = 100 * np.array(report["shares"])
    for index, (name, numbers) in enumerate(report["models"].items()):
        low, high = 100 * np.transpose(numbers["accuracy_ci95"])
        axes.fill_between(shares, low, high, color=f"C{index}", alpha=0.15, linewidth=0)
        accuracy = 100 * np.array(numbers["accuracy"])
        axes.plot(shares, accuracy, "o-", color=f"C{index}", markersize=3, label=titles[name])
    axes.set(xlim=(-2, 102), ylim=(0, 102))
    axes.set_xlabel("share of the picture seen, from above (%)")
    axes.set_ylabel("accuracy (%), with 95 % intervals")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure_png(figure, dpi=160)


def print_partial(report: dict, titles: dict[str, str]) -> None:
    """Prints the accuracy at some parts."""
    shares = np.array(report["shares"])
    parts = list(dict.fromkeys(int(np.abs(shares - share).argmin()) for share in SHOWN))
    rows = [
        (titles[name], *(f"{numbers['accuracy'][part]:.2%}" for part in parts))
        for name, numbers in report["models"].items()
    ]
    print_table(
        ("", *(f"{shares[part]:.0%}" for part in parts)),
        rows,
        title="Accuracy by the share of the picture seen",
        caption="the CNN sees the mean training picture in place of the rest",
    )
