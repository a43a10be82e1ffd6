"""What else there is to say about one classifier: by class, by confidence, by coverage."""

from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.metrics import (
    classification_metrics,
    cross_fitted_temperature,
    one_vs_rest_auc,
    selective_accuracy,
)

COVERAGES = (0.5, 0.8, 0.9, 0.95)


def classifier_details(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict:
    """The numbers of one classifier that go beyond accuracy, log-loss and calibration error.

    Args:
        labels: int `[count]`, the true classes, all of them in `[0, num_classes)`.
        probabilities: float `[count, num_classes]`, each row sums to 1.
        class_names: The name of each class.

    Returns:
        A dictionary, ready for JSON:
        `classification_report`, scikit-learn's, by class name;
        `roc_auc`: `{"macro", "classes": {name: area}}`, one-vs-rest, `None` for a class without
        pictures, which `macro` leaves out;
        `temperature_scaling`: `{"temperatures", "ece", "log_loss"}` after each half of the pictures
        was scaled by the temperature fitted on the other half, `None` for a single picture;
        `selective_accuracy`: `{"area", "at_coverage": {"0.5": accuracy, …}}`, of the most confident
        pictures only.
    """
    from sklearn.metrics import classification_report

    return {
        "classification_report": classification_report(
            labels,
            probabilities.argmax(axis=1),
            labels=range(len(class_names)),
            target_names=class_names,
            output_dict=True,
            zero_division=0,
        ),
        "roc_auc": _roc_auc(labels, probabilities, class_names),
        "temperature_scaling": _temperature_scaling(labels, probabilities),
        "selective_accuracy": _selective_accuracy(labels, probabilities),
    }


def _roc_auc(labels, probabilities, class_names) -> dict:
    areas = one_vs_rest_auc(labels, probabilities)
    defined = [area for area in areas if area is not None]
    return {
        "macro": float(np.mean(defined)) if defined else None,
        "classes": dict(zip(class_names, areas, strict=True)),
    }


def _temperature_scaling(labels, probabilities) -> dict | None:
    if len(labels) < 2:
        return None
    scaled, temperatures = cross_fitted_temperature(labels, probabilities)
    numbers = classification_metrics(labels, scaled)
    return {
        "temperatures": temperatures,
        "fitted_on": "the other half of the split",
        "ece": numbers["ece"],
        "log_loss": numbers["log_loss"],
    }


def _selective_accuracy(labels, probabilities) -> dict:
    coverage, accuracy = selective_accuracy(labels, probabilities)
    at = {str(wanted): float(accuracy[np.searchsorted(coverage, wanted)]) for wanted in COVERAGES}
    return {"area": float(accuracy.mean()), "at_coverage": at}
