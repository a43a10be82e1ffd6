"""The numbers that describe one classifier on one split."""

import numpy as np

from keras_pixelcnnpp.metrics.accuracy import accuracy_interval
from keras_pixelcnnpp.metrics.calibration import expected_calibration_error


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """Accuracy with its 95 % interval, log-loss and calibration error.

    Args:
        labels: int `[count]`, the true classes, all of them in `[0, num_classes)`.
        probabilities: float `[count, num_classes]`, each row sums to 1.

    Returns:
        A dictionary of `accuracy`, `accuracy_ci95` (`[low, high]`), `log_loss` (nats) and `ece`,
        all of them plain Python numbers, ready for JSON.
    """
    from sklearn.metrics import log_loss

    probabilities = np.asarray(probabilities, dtype=np.float64)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    correct = int(np.sum(probabilities.argmax(axis=1) == labels))
    return {
        "accuracy": correct / len(labels),
        "accuracy_ci95": list(accuracy_interval(correct, len(labels))),
        "log_loss": float(
            log_loss(labels, probabilities, labels=np.arange(probabilities.shape[1]))
        ),
        "ece": expected_calibration_error(labels, probabilities),
    }
