"""`evaluate classification`: compares PixelCNN++ and the baseline CNN as classifiers."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, classification_report

from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.distributions.bits import bits_per_dim, bits_unit
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.evaluate.measurements import BatchOptions
from keras_pixelcnnpp.evaluate.metrics import classifiers as metrics
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.utils.errors import say
from keras_pixelcnnpp.utils.files import counted, write_bytes, write_predictions

PREDICTIONS = {"pixelcnnpp": "predictions.csv", "baseline": "predictions_baseline.csv"}
# With more classes, the numbers of a confusion matrix are illegible and take seconds to render.
WRITTEN_CLASSES = 30


def measure(subject: Subject, options: BatchOptions, folder: Path) -> dict | None:
    """Measures the models as classifiers of a split, writes figures and prints tables."""
    model, class_names, all_images = subject.model, subject.class_names, subject.images
    titles = subject.titles
    trained_on = subject.trained_on(all_images, subject.dataset)
    print(f"Scoring {counted(len(all_images))} of the split {subject.split} under every class")
    predictions = _predictions(model, subject.cnn, all_images, options.batch_size)
    for name, of_model in predictions.items():
        of_images = all_images.paths, all_images.labels, of_model.probabilities
        path = folder / PREDICTIONS[name]
        write_predictions(path, *of_images, class_names, trained_on=trained_on)
    known = all_images.labels >= 0
    if not known.any():
        print(f"The split {subject.split} has no labels, so only predictions were written.")
        return None

    labels = all_images.labels[known]
    predictions = {name: of_model.take(known) for name, of_model in predictions.items()}
    report = {
        "split": subject.split,
        "num_levels": model.num_levels,
        "trained_on": None if trained_on is None else int(trained_on[known].sum()),
        **compare(labels, predictions, class_names),
    }
    models = {titles[name]: of_model.probabilities for name, of_model in predictions.items()}
    write_bytes(folder / "reliability.png", reliability_png(labels, models))
    for name, given in predictions.items():
        png = confusion_matrix_png(labels, given.predicted, class_names, titles[name])
        write_bytes(folder / f"confusion_{name}.png", png)
    _print_comparison(report, titles)
    return report


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions for images, and its speed.

    `probabilities` is float `[count, num_classes]`. `bits_per_dim` is that of p(x), with equally
    likely classes, float `[count]`, or `None` for a CNN.
    """

    probabilities: np.ndarray
    bits_per_dim: np.ndarray | None = None
    images_per_second: float | None = None

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, int `[count]`."""
        return self.probabilities.argmax(axis=1)

    def take(self, rows: np.ndarray) -> "Predictions":
        """Returns the predictions for some of the images."""
        bits = None if self.bits_per_dim is None else self.bits_per_dim[rows]
        return replace(self, probabilities=self.probabilities[rows], bits_per_dim=bits)


def _predictions(
    model: AutoregressiveModel, cnn: BaselineCNN | None, images: LabeledImages, batch_size: int
) -> dict[str, Predictions]:
    verbose = int(sys.stdout.isatty())

    def timed(ask: Callable[[LabeledImages], np.ndarray]) -> tuple[np.ndarray, float]:
        ask(images.take(slice(batch_size)))  # compiles the model, which is not timed
        start = time.perf_counter()
        answer = ask(images)
        return answer, len(images) / (time.perf_counter() - start)

    def score(some: LabeledImages) -> np.ndarray:
        condition = model.conditions.from_data(some)
        how: Any = {"verbose": verbose, "condition": condition}
        return model.class_log_likelihoods(some.images, batch_size, **how)

    scores, speed = timed(score)
    probabilities = model.posterior.probabilities(scores)
    bits = bits_per_dim(log_marginal(scores), model.image_shape)
    predictions = {"pixelcnnpp": Predictions(probabilities, bits, speed)}
    if cnn is not None:
        probabilities, speed = timed(
            lambda some: cnn.class_probabilities(some.images, batch_size, verbose)
        )
        predictions["baseline"] = Predictions(probabilities, None, speed)
    return predictions


def compare(
    labels: np.ndarray, predictions: dict[str, Predictions], class_names: Sequence[str]
) -> dict:
    """Returns the content of `classification.json`: metrics of each model, and their difference."""
    models = {}
    for name, of_model in predictions.items():
        bits = of_model.bits_per_dim
        models[name] = {
            **metrics.classification_metrics(labels, of_model.probabilities),
            "bits_per_dim": None if bits is None else float(bits.mean()),
            "images_per_second": of_model.images_per_second,
            **classifier_details(labels, of_model.probabilities, class_names),
        }
    report = {"count": len(labels), "models": models, "accuracy_difference": None}
    if len(predictions) == 2:
        a, b = (of_model.predicted == labels for of_model in predictions.values())
        only = dict(zip(predictions, (int(np.sum(a & ~b)), int(np.sum(b & ~a))), strict=True))
        interval = list(metrics.accuracy_difference_interval(a, b))
        difference = {"value": float(a.mean() - b.mean()), "ci95": interval, "only": only}
        report["accuracy_difference"] = difference
    return report


def classifier_details(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict:
    """Returns further metrics of a classifier, ready for JSON."""
    areas = metrics.one_vs_rest_auc(labels, probabilities)
    predicted = probabilities.argmax(axis=1)
    # By number, because scikit-learn's report also has an entry "accuracy", which a class may have.
    present = np.unique(labels)
    how: Any = {"labels": present, "zero_division": 0, "output_dict": True}
    by_number = classification_report(labels, predicted, **how)
    by_class = {class_names[label]: by_number[str(label)] for label in present}
    return {
        "classification_report": by_class,
        "roc_auc": {"classes": dict(zip(class_names, areas, strict=True))},
    }


def _print_comparison(report: dict, titles: dict[str, str]) -> None:
    print(f"{counted(report['count'])} of the split {report['split']}:")
    for name, numbers in report["models"].items():
        low, high = (f"{100 * bound:.1f}" for bound in numbers["accuracy_ci95"])
        accuracy = f"accuracy {numbers['accuracy']:.2%} ({low}–{high})"
        errors = f"log loss {numbers['log_loss']:.4f}, ECE {numbers['ece']:.4f}"
        bits = numbers["bits_per_dim"]
        unit = "" if bits is None else f", {bits:.4f} {bits_unit(report['num_levels'])}"
        say(f"  {titles[name]}: {accuracy}, {errors}{unit}")
    if report.get("trained_on"):
        print(f"Warning: {report['trained_on']} of {counted(report['count'])} were trained on.")
    if (difference := report["accuracy_difference"]) is not None:
        low, high = difference["ci95"]
        say(
            f"{titles['pixelcnnpp']} minus baseline: {100 * difference['value']:+.1f} points of "
            f"accuracy, 95% interval {100 * low:+.1f} to {100 * high:+.1f} (paired bootstrap)"
        )
        ours, cnns = difference["only"]["pixelcnnpp"], difference["only"]["baseline"]
        say(
            f"Only {titles['pixelcnnpp']} is right on {counted(ours)}, "
            f"only {titles['baseline']} on {cnns}."
        )


def confusion_matrix_png(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], title: str = ""
) -> bytes:
    """Plots a confusion matrix; rows are true classes and columns are predicted classes.

    Classes that are neither the true nor the predicted class of an image are left out.
    """
    shown, places = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    true, given = np.split(places, 2)
    # scikit-learn's `confusion_matrix` warns about a single class.
    matrix = np.zeros((len(shown), len(shown)), int)
    np.add.at(matrix, (true, given), 1)
    few = len(shown) <= WRITTEN_CLASSES
    size = 3.0 + 0.5 * min(len(shown), WRITTEN_CLASSES)
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    names = [class_names[label] for label in shown]
    look: Any = {"include_values": few, "xticks_rotation": 45, "cmap": "Blues", "ax": axes}
    ConfusionMatrixDisplay(matrix, display_labels=names).plot(**look)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set(parse_math=False, visible=few)
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
