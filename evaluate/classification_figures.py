"""The plots of `evaluate classification`; each function returns the content of a PNG file."""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, roc_curve

from keras_pixelcnnpp.evaluate.figures import figure_png, name_lines, new_figure
from keras_pixelcnnpp.evaluate.metrics.classifiers import (
    cross_fitted_temperature,
    expected_calibration_error,
    one_vs_rest_auc,
    reliability,
    selective_accuracy,
)

# More would not be told apart by colour.
NAMED_CLASSES = 10
# More would not be read in a confusion matrix, and take seconds to draw.
WRITTEN_CLASSES = 30


def confusion_matrix_png(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], title: str = ""
) -> bytes:
    """Draws a confusion matrix: rows are true classes, columns predicted ones."""
    num_classes = len(class_names)
    # scikit-learn's function warns of a single class.
    matrix = np.bincount(num_classes * labels + predicted, minlength=num_classes**2)
    matrix = matrix.reshape(num_classes, num_classes)
    # Numbers, and names of all, while there is room for them.
    few = num_classes <= WRITTEN_CLASSES
    size = 3.0 + 0.5 * min(num_classes, WRITTEN_CLASSES)
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    ConfusionMatrixDisplay(matrix).plot(include_values=few, ax=axes, cmap="Blues")
    shown = range(0, num_classes, math.ceil(num_classes / WRITTEN_CLASSES))
    names = [class_names[index] for index in shown]
    long_names = max(map(len, names)) > 3
    axes.set_xticks(shown, names, rotation=45 if long_names else 0, parse_math=False)
    axes.set_yticks(shown, names, parse_math=False)
    axes.set_title(title)
    return figure_png(figure)


def roc_png(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], title: str = ""
) -> bytes:
    """Draws the ROC curve of each class that has pictures against all the others.

    The axis of false alarms is logarithmic: the curves of a good classifier differ in its corner.
    """
    figure = new_figure(7.4, 4.8)
    axes = figure.subplots()
    areas = one_vs_rest_auc(labels, probabilities)
    few = len(class_names) <= NAMED_CLASSES
    # A logarithmic axis has no zero: half a picture stands for none.
    least = 0.5 / len(labels)
    chance = np.geomspace(least, 1)
    axes.plot(chance, chance, ":", color="grey")
    lines = {}
    for index, (name, area) in enumerate(zip(class_names, areas, strict=True)):
        if area is None:
            continue
        false_rate, true_rate, _ = roc_curve(labels == index, probabilities[:, index])
        (lines[f"{name} (AUC {area:.4f})"],) = axes.plot(
            np.maximum(false_rate, least), true_rate, f"C{index if few else 0}", alpha=0.85
        )
    axes.set(
        title=title,
        xlabel="share of the other classes' pictures taken for it",
        ylabel="share of the class's pictures found",
        xscale="log",
        xlim=(least, 1),
        ylim=(-0.02, 1.02),
    )
    axes.grid(alpha=0.3)
    if few and lines:
        look = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        name_lines(axes, lines.values(), lines, title="class against the rest", **look)
    return figure_png(figure)


def reliability_png(labels: np.ndarray, models: dict[str, np.ndarray]) -> bytes:
    """Draws accuracy against confidence, before and after temperature scaling.

    `models` are probabilities by title. A larger dot stands for more pictures; below, how many
    there are at each confidence. Scaled as by `cross_fitted_temperature`.
    """
    figure = new_figure(1 + 4.2 * len(models), 5.6)
    grid = figure.subplots(
        2, len(models), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1)
    )
    for (upper, lower), (title, probabilities) in zip(grid.T, models.items(), strict=True):
        scaled, temperatures = cross_fitted_temperature(labels, probabilities)
        upper.plot([0, 1], [0, 1], ":", color="grey")
        for name, values in {"as it is": probabilities, "temperature-scaled": scaled}.items():
            error = expected_calibration_error(labels, values)
            _draw_reliability(upper, lower, labels, values, f"{name}, ECE {error:.3f}")
        fitted = " and ".join(f"{temperature:.3g}" for temperature in temperatures)
        upper.set_title(f"{title}\ntemperatures of the halves: {fitted}", fontsize="medium")
        legend = upper.legend(loc="lower right", fontsize="small")
        for handle in legend.legend_handles:
            handle.set_sizes([30])
        upper.grid(alpha=0.3)
        lower.grid(alpha=0.3)
        lower.set(xlabel="confidence", xlim=(-0.04, 1.04))
    grid[0, 0].set(ylabel="accuracy", ylim=(-0.04, 1.04))
    grid[1, 0].set(ylabel="pictures", yscale="symlog", ylim=(0, None))
    return figure_png(figure)


def _draw_reliability(upper, lower, labels, probabilities, name) -> None:
    count, accuracy, confidence = reliability(labels, probabilities)
    edges = np.linspace(0, 1, len(count) + 1)
    filled = count > 0
    (line,) = upper.plot(confidence[filled], accuracy[filled], alpha=0.4)
    sizes = 12 + 160 * np.sqrt(count[filled] / count.sum())
    upper.scatter(
        confidence[filled], accuracy[filled], sizes, color=line.get_color(), alpha=0.8, label=name
    )
    lower.stairs(count, edges, linewidth=1.4)


def selective_accuracy_png(labels: np.ndarray, models: dict[str, np.ndarray]) -> bytes:
    """Draws the accuracy of the most confident pictures against their share."""
    figure = new_figure(6, 4.2)
    axes = figure.subplots()
    for title, probabilities in models.items():
        coverage, accuracy = selective_accuracy(labels, probabilities)
        name = f"{title}, area {accuracy.mean():.4f}"
        axes.plot(100 * coverage, 100 * accuracy, label=name)
    axes.set(
        xlabel="coverage: pictures answered, the most confident first (%)",
        ylabel="accuracy of those (%)",
        xlim=(0, 101),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure_png(figure)
