"""Metrics of the accuracy and calibration of classifiers.

In all functions, `labels` are the true classes, int `[count]`; `probabilities` are float
`[count, classes]`, with rows that sum to 1; and `correct_a` and `correct_b` say which images two
models classify correctly, bool `[count]`.
"""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import binomtest, bootstrap, norm, rankdata
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

NUM_BINS = 15  # of the calibration error


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """Returns accuracy, its 95% interval, log loss in nats and calibration error, for JSON."""
    correct = int(np.sum(probabilities.argmax(axis=1) == labels))
    return {
        "accuracy": correct / len(labels),
        "accuracy_ci95": list(accuracy_interval(correct, len(labels))),
        "log_loss": mean_log_loss(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities),
    }


def mean_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the mean of -log p of the true classes, in nats, computed in float64."""
    # scikit-learn clips p at 2.2e-16, but Bayes' rule often gives smaller values.
    probabilities = np.asarray(probabilities, dtype=np.float64)
    log_p = _log(probabilities / probabilities.sum(axis=1, keepdims=True))
    return float(0 - log_p[np.arange(len(labels)), labels].mean())


def accuracy_interval(correct: float, count: int) -> tuple[float, float]:
    """Returns Wilson's 95% interval (1927) of `round(correct)` successes in `count` trials."""
    interval = binomtest(round(correct), count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def accuracy_difference_interval(
    correct_a: np.ndarray, correct_b: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """Returns the 95% interval of accuracy `a` minus accuracy `b`, by a paired bootstrap.

    Images are resampled together with the answers of both classifiers, so that images that are hard
    for both do not widen the interval. The interval is that of the percentiles.
    """
    difference = np.asarray(correct_a, np.float64) - np.asarray(correct_b, np.float64)
    if len(difference) == 1:  # scipy requires at least two values
        return float(difference[0]), float(difference[0])
    interval = bootstrap(
        (difference,),
        np.mean,
        method="percentile",
        batch=max(1, 2_000_000 // len(difference)),  # bounds the memory
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the expected calibration error (ECE), in [0, 1], weighted by the images of each bin.

    Guo et al. 2017, *On Calibration of Modern Neural Networks*, equation 3.
    """
    count, accuracy, confidence = reliability(labels, probabilities)
    return float(np.sum(count[count > 0] * np.abs(accuracy - confidence)) / len(labels))


def reliability(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the number of images, the accuracy and the mean confidence of bins of equal width.

    The number is int `[NUM_BINS]`. As in scikit-learn's `calibration_curve`, the others are only of
    the bins that are not empty. The confidence is the probability of the predicted class.
    """
    confidence = np.clip(np.asarray(probabilities, np.float64).max(axis=1), 0, 1)
    correct = probabilities.argmax(axis=1) == labels
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=NUM_BINS)
    inner_edges = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
    count = np.bincount(np.searchsorted(inner_edges, confidence), minlength=NUM_BINS)
    return count, accuracy, mean_confidence


def _log(probabilities: np.ndarray) -> np.ndarray:
    # Probabilities may underflow to 0, whose logarithm must stay finite.
    return np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float64).tiny))


def one_vs_rest_auc(labels: np.ndarray, probabilities: np.ndarray) -> list[float | None]:
    """Returns the one-vs-rest area under the ROC curve of each class, in [0, 1].

    It is `None` for a class with no images or with all images.
    """
    belongs = labels[:, np.newaxis] == np.arange(probabilities.shape[1])
    return [
        float(roc_auc_score(of_class, score)) if 0 < of_class.sum() < len(labels) else None
        for of_class, score in zip(belongs.T, probabilities.T, strict=True)
    ]


def auroc_interval(
    inlying: np.ndarray, outlying: np.ndarray, paired: bool = False
) -> tuple[float, tuple[float, float]]:
    """Returns the area under the ROC curve (AUROC), and its 95% interval.

    The area is the probability that an `outlying` score is larger than an `inlying` one. The
    interval is that of DeLong et al. 1988, *Comparing the areas under two or more correlated
    receiver operating characteristic curves*, on the logistic scale, so that it stays within 0 and
    1. If the variance is 0, Wilson's interval for the smaller set is used. `paired` scores are of
    the same images in the same order, such as images and their mirror images.
    """
    few, many = len(inlying), len(outlying)
    ranks = rankdata(np.concatenate([inlying, outlying]))
    below = (ranks[few:] - rankdata(outlying)) / few  # fraction of inlying below each outlying
    above = 1 - (ranks[:few] - rankdata(inlying)) / many
    area = float(below.mean())
    varied = min(few, many) > 1 and (np.ptp(below) > 0 or np.ptp(above) > 0)
    if not varied or not 0 < area < 1:
        return area, accuracy_interval(area * min(few, many), min(few, many))
    if paired:
        error = np.sqrt(np.var(below + above, ddof=1) / many)
    else:
        error = np.sqrt(np.var(below, ddof=1) / many + np.var(above, ddof=1) / few)
    half = norm.isf(0.025) * error / (area * (1 - area))
    return area, (float(expit(logit(area) - half)), float(expit(logit(area) + half)))
