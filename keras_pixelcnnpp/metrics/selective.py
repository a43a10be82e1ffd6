"""How accurate a classifier is that may abstain."""

import numpy as np


def selective_accuracy(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy against coverage: of the most confident pictures only, more and more of them.

    Confidence is the probability of the predicted class. Pictures of equal confidence count as
    answered in random order: each with their common accuracy.

    Args:
        labels: int `[count]`, the true classes.
        probabilities: float `[count, num_classes]`.

    Returns:
        The coverage `k / count` and the accuracy of the `k` most confident pictures, for `k` from 1
        to `count`; both float64 `[count]`. The mean of the accuracies is the area under the curve,
        1 minus the area under the risk-coverage curve.

    Reference:
        - Geifman and El-Yaniv, *Selective Classification for Deep Neural Networks*, 2017
    """
    confidence = probabilities.max(axis=1)
    correct = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    shared = (np.bincount(group, weights=correct) / size)[np.sort(group)]
    answered = np.arange(1, len(labels) + 1)
    return answered / len(labels), np.cumsum(shared) / answered
