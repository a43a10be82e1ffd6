"""The numbers that describe one classifier on one split."""

import numpy as np


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


def accuracy_interval(correct: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of an accuracy.

    Args:
        correct: How many of the pictures were classified correctly.
        count: How many pictures there were, at least 1.
        level: The confidence level, in (0, 1).

    Returns:
        The lower and the upper bound, in [0, 1].

    Reference:
        - Wilson, *Probable inference, the law of succession, and statistical inference*, 1927
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct, count, alpha=1 - level, method="wilson")
    return float(low), float(high)


def mcnemar_p_value(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """The p-value of McNemar's exact test.

    Only the pictures that exactly one of the two classifiers got right tell them apart. Under the
    hypothesis that both err equally often, they fall on either side like a fair coin.

    Args:
        correct_a: bool `[count]`, whether the first classifier was right.
        correct_b: bool `[count]`, whether the second one was, on the same pictures.

    Returns:
        The two-sided p-value, in [0, 1].

    Reference:
        - McNemar, *Note on the sampling error of the difference between correlated proportions or
          percentages*, 1947
    """
    from statsmodels.stats.contingency_tables import mcnemar

    correct_a, correct_b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    table = [
        [np.sum(correct_a & correct_b), np.sum(correct_a & ~correct_b)],
        [np.sum(~correct_a & correct_b), np.sum(~correct_a & ~correct_b)],
    ]
    return min(1.0, float(mcnemar(table, exact=True).pvalue))


def accuracy_difference_interval(
    correct_a: np.ndarray, correct_b: np.ndarray, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The paired bootstrap interval of the accuracy of `a` minus that of `b`.

    Pictures are drawn again with what both classifiers said about them, so that a picture that is
    hard for both doesn't widen the interval. Percentiles of 9999 draws.

    Args:
        correct_a: bool `[count]`, whether the first classifier was right.
        correct_b: bool `[count]`, whether the second one was, on the same pictures.
        level: The confidence level, in (0, 1).
        seed: Of the draws.

    Returns:
        The lower and the upper bound, in [-1, 1].

    Reference:
        - Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13
    """
    from scipy.stats import bootstrap

    a, b = np.asarray(correct_a, np.float64), np.asarray(correct_b, np.float64)
    if len(a) == 1:  # scipy asks for two; the one is all that could be drawn
        return float(a[0] - b[0]), float(a[0] - b[0])
    interval = bootstrap(
        (a, b),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        paired=True,
        vectorized=True,
        confidence_level=level,
        method="percentile",
        batch=max(1, 2_000_000 // len(a)),  # draws at once: memory
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


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


# Of a likelihood in nats, thousands of sub-pixels count as independent evidence: it may take
# temperatures far above those of usual networks.
LOWEST, HIGHEST = 1e-3, 1e4


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray, smoothing: float = 0.0) -> float:
    """The temperature that makes the log-loss smallest.

    Args:
        labels: int `[count]`, the true classes.
        probabilities: float `[count, num_classes]`, each row sums to 1; at least 2 classes.
        smoothing: In [0, 1), the weight that each picture has as one of the most probable class
            other than its own. Without it there is no best temperature where every picture is
            classified correctly: the result is then near the lower end.

    Returns:
        The temperature, between 0.001 and 10,000; above 1, the classifier was too sure.

    Reference:
        - Guo et al., *On Calibration of Modern Neural Networks*, 2017, section 4.2
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, rows = _log(probabilities), np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    runners_up = others.argmax(axis=1)

    def mean_log_loss(log_temperature: float) -> float:
        tempered = log_softmax(logits / np.exp(log_temperature), axis=1)
        own, other = tempered[rows, labels], tempered[rows, runners_up]
        return -np.mean((1 - smoothing) * own + smoothing * other)

    # Convex in 1 / temperature, so there is one valley only.
    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(mean_log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at another temperature: float64, `p ** (1 / temperature)`, normalized."""
    from scipy.special import softmax

    return softmax(_log(probabilities) / temperature, axis=1)


def cross_fitted_temperature(
    labels: np.ndarray, probabilities: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, list[float]]:
    """Scales each half of the pictures by the temperature that fits the other half best.

    So no picture is judged with a temperature that its own label had a part in, and none is lost.
    A half of n pictures is smoothed by 1 / (n + 2): a half without mistakes doesn't prove that
    there are none.

    Args:
        labels: int `[count]`, the true classes; at least 2 pictures.
        probabilities: float `[count, num_classes]`, each row sums to 1.
        seed: Chooses the halves.

    Returns:
        The scaled probabilities, float64 `[count, num_classes]`, and the two temperatures.

    Reference:
        - Platt, *Probabilistic Outputs for Support Vector Machines*, 1999, section 2.2 (smoothing)
    """
    from sklearn.model_selection import KFold

    scaled, temperatures = np.empty(probabilities.shape), []
    halves = KFold(2, shuffle=True, random_state=seed)
    for fitted, judged in halves.split(probabilities):
        smoothing = 1 / (len(fitted) + 2)
        temperatures.append(fit_temperature(labels[fitted], probabilities[fitted], smoothing))
        scaled[judged] = apply_temperature(probabilities[judged], temperatures[-1])
    return scaled, temperatures


def _log(probabilities: np.ndarray) -> np.ndarray:
    # A probability that float64 cannot hold is 0; its logarithm has to stay a number.
    return np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float64).tiny))


def one_vs_rest_auc(labels: np.ndarray, probabilities: np.ndarray) -> list[float | None]:
    """The area under the ROC curve of each class against all the others.

    It is the chance that a picture of the class gets a higher probability for it than a picture of
    another class does; ties count half.

    Args:
        labels: int `[count]`, the true classes.
        probabilities: float `[count, num_classes]`.

    Returns:
        One area in [0, 1] for each class; `None` for a class that has no pictures here, or all.

    Reference:
        - Fawcett, *An introduction to ROC analysis*, 2006, section 9.2
    """
    from sklearn.metrics import roc_auc_score

    areas = []
    for index in range(probabilities.shape[1]):
        belongs = labels == index
        two_sided = belongs.any() and not belongs.all()
        areas.append(float(roc_auc_score(belongs, probabilities[:, index])) if two_sided else None)
    return areas


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
