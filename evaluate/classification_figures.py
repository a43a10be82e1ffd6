"""The plots of `evaluate classification`; each function returns the content of a PNG file."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.evaluate.metrics import classifiers as metrics

# With more classes, the numbers of a confusion matrix are illegible and take seconds to render.
WRITTEN_CLASSES = 30


def confusion_matrix_png(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], title: str = ""
) -> bytes:
    """Plots a confusion matrix; rows are true classes and columns are predicted classes.

    Classes that are neither the true nor the predicted class of an image are left out.
    """
    shown, places = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    class_names, count = [class_names[label] for label in shown], len(shown)
    true, given = np.split(places, 2)
    # scikit-learn's `confusion_matrix` warns about a single class.
    matrix = np.bincount(count * true + given, minlength=count**2)
    size = 3.0 + 0.5 * min(count, WRITTEN_CLASSES)
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    # Numbers and names are shown only if there is room for them.
    few = count <= WRITTEN_CLASSES
    display = ConfusionMatrixDisplay(matrix.reshape(count, count))
    display.plot(include_values=few, ax=axes, cmap="Blues")
    ticks = range(count) if few else []
    rotation = 45 if max(map(len, class_names)) > 3 else 0
    names = class_names if few else []
    axes.set_xticks(ticks, names, rotation=rotation, parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set_title(title)
    return figure_png(figure)


def reliability_png(labels: np.ndarray, models: dict[str, np.ndarray]) -> bytes:
    """Plots accuracy against confidence. Larger dots stand for more images.

    `models` are probabilities by title.
    """
    figure = new_figure(1 + 4.2 * len(models), 4.6)
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axes, (title, probabilities) in zip(panels, models.items(), strict=True):
        count, accuracy, confidence = metrics.reliability(labels, probabilities)
        error = metrics.expected_calibration_error(labels, probabilities)
        axes.plot([0, 1], [0, 1], ":", color="gray")
        axes.plot(confidence, accuracy)
        sizes = 12 + 160 * np.sqrt(count[count > 0] / count.sum())
        axes.scatter(confidence, accuracy, sizes, alpha=0.6)
        axes.set_title(f"{title}\nECE {error:.3f}", fontsize="medium")
        axes.set(xlabel="confidence", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy")
    return figure_png(figure)
