"""Does a classifier know how sure it may be?"""

import numpy as np


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, num_bins: int = 15
) -> float:
    """The expected calibration error of a classifier's first choice.

    The pictures are sorted by confidence (the probability of the predicted class) into `num_bins`
    bins of equal width. The result is the average, weighted by the number of pictures in a bin, of
    the distance between a bin's accuracy and its mean confidence. It equals
    `tfp.stats.expected_calibration_error`, which needs TensorFlow.

    Args:
        labels: int `[count]`, the true classes.
        probabilities: float `[count, num_classes]`.
        num_bins: The number of bins.

    Returns:
        The error, in [0, 1]; 0 is perfectly calibrated.

    Reference:
        - Guo et al., *On Calibration of Modern Neural Networks*, 2017, equation 3
    """
    count, accuracy, confidence = reliability(labels, probabilities, num_bins)
    return float(np.sum(count * np.abs(accuracy - confidence)) / len(labels))


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, num_bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a reliability diagram shows: accuracy against confidence, bin by bin.

    Args:
        labels: int `[count]`, the true classes.
        probabilities: float `[count, num_classes]`.
        num_bins: The number of bins of equal width.

    Returns:
        For each bin the number of pictures, their accuracy and their mean confidence (both 0 in an
        empty bin), all `[num_bins]`.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    # A bin holds its upper edge.
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)

    def total(values=None) -> np.ndarray:
        return np.bincount(bins, weights=values, minlength=num_bins)

    count = total()
    divisor = np.maximum(count, 1)
    return count, total(correct) / divisor, total(confidence.astype(np.float64)) / divisor
