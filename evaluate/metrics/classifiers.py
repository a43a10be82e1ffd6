"""How accurate and how well calibrated a classifier is, from labels and probabilities.

Throughout, `labels` are int `[count]`, the true classes; `probabilities` float `[count, classes]`,
rows that sum to 1; `correct_a` and `correct_b` bool `[count]`, of two models on the same images.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from scipy.stats import binomtest, bootstrap, norm, rankdata
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

NUM_BINS = 15  # of a calibration error


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """`accuracy`, `accuracy_ci95` (`[low, high]`), `log_loss` (nats) and `ece`, ready for JSON."""
    correct = int(np.sum(probabilities.argmax(axis=1) == labels))
    return {
        "accuracy": correct / len(labels),
        "accuracy_ci95": list(accuracy_interval(correct, len(labels))),
        "log_loss": mean_log_loss(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities),
    }


def mean_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean of -log p of the true classes, nats, in float64."""
    # Not by scikit-learn, which raises p to 2.2e-16: Bayes' rule often gives less.
    probabilities = np.asarray(probabilities, dtype=np.float64)
    log_p = _log(probabilities / probabilities.sum(axis=1, keepdims=True))
    return float(0 - log_p[np.arange(len(labels)), labels].mean())


def accuracy_interval(correct: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (1927) of `round(correct)` successes among `count` trials."""
    interval = binomtest(round(correct), count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_p_value(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """The two-sided p-value of McNemar's exact test (1947), in [0, 1].

    Only images that exactly one of two classifiers got right tell them apart. If both err equally
    often, those fall on either side like a fair coin.
    """
    correct_a, correct_b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    only_a, only_b = int(np.sum(correct_a & ~correct_b)), int(np.sum(correct_b & ~correct_a))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def accuracy_difference_interval(
    correct_a: np.ndarray, correct_b: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of accuracy `a` minus accuracy `b`, by a paired bootstrap (percentiles).

    Images are resampled with what both classifiers said about them, so that an image that is hard
    for both doesn't widen the interval.
    """
    difference = np.asarray(correct_a, np.float64) - np.asarray(correct_b, np.float64)
    if len(difference) == 1:  # scipy asks for two; the one is all that could be resampled
        return float(difference[0]), float(difference[0])
    interval = bootstrap(
        (difference,),
        np.mean,
        method="percentile",
        batch=max(1, 2_000_000 // len(difference)),  # resamples at once: memory
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean distance between accuracy and confidence, in [0, 1], weighted by the bins' images.

    Guo et al. 2017, *On Calibration of Modern Neural Networks*, equation 3.
    """
    count, accuracy, confidence = reliability(labels, probabilities)
    return float(np.sum(count[count > 0] * np.abs(accuracy - confidence)) / len(labels))


def reliability(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The number of images in each bin, int `[NUM_BINS]`, and scikit-learn's `calibration_curve`.

    That is the accuracy and the mean confidence of the bins that hold any image. The confidence is
    the probability of the predicted class; bins are of equal width.
    """
    confidence = np.clip(np.asarray(probabilities, np.float64).max(axis=1), 0, 1)
    correct = probabilities.argmax(axis=1) == labels
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=NUM_BINS)
    inner_edges = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
    count = np.bincount(np.searchsorted(inner_edges, confidence), minlength=NUM_BINS)
    return count, accuracy, mean_confidence


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray, smoothing: float = 0.0) -> float:
    """The temperature of the smallest log-loss (Guo et al. 2017); above 1, it was overconfident.

    `smoothing`, in [0, 1), is the weight that each image has as one of its likeliest other class.
    Without it, the result is near the lower end where every image is classified correctly.
    """
    logits, rows = _log(probabilities), np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    runners_up = others.argmax(axis=1)

    def mean_loss(log_logit_scale: float) -> float:
        tempered = log_softmax(logits / np.exp(log_logit_scale), axis=1)
        own, other = tempered[rows, labels], tempered[rows, runners_up]
        return -np.mean((1 - smoothing) * own + smoothing * other)

    # Convex in 1 / temperature, so there is one valley only. A likelihood in nats counts thousands
    # of sub-pixels as independent evidence: it may take temperatures far above the usual ones.
    bounds = (np.log(1e-3), np.log(1e4))
    found = minimize_scalar(mean_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at another temperature: float64, `p ** (1 / temperature)`, normalized."""
    return softmax(_log(probabilities) / temperature, axis=1)


def cross_fitted_temperature(
    labels: np.ndarray, probabilities: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, list[float]]:
    """Scales each half of the images by the temperature that fits the other half; returns both.

    So no image is scaled with a temperature that was fitted to its own label, and none is lost.
    """
    scaled, temperatures = np.empty(probabilities.shape), []
    halves = KFold(2, shuffle=True, random_state=seed)
    for fitted, rest in halves.split(probabilities):
        # A half without mistakes doesn't prove that there are none (Platt 1999, section 2.2).
        smoothing = 1 / (len(fitted) + 2)
        temperatures.append(fit_temperature(labels[fitted], probabilities[fitted], smoothing))
        scaled[rest] = apply_temperature(probabilities[rest], temperatures[-1])
    return scaled, temperatures


def _log(probabilities: np.ndarray) -> np.ndarray:
    # A probability that float64 cannot hold is 0; its logarithm has to stay a number.
    return np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float64).tiny))


def one_vs_rest_auc(labels: np.ndarray, probabilities: np.ndarray) -> list[float | None]:
    """The area under the ROC curve of each class against all the others, in [0, 1].

    `None` for a class that has no images here, or all.
    """
    belongs = labels[:, np.newaxis] == np.arange(probabilities.shape[1])
    return [
        float(roc_auc_score(of_class, score)) if 0 < of_class.sum() < len(labels) else None
        for of_class, score in zip(belongs.T, probabilities.T, strict=True)
    ]


def auroc_interval(
    inlying: np.ndarray, outlying: np.ndarray, paired: bool = False
) -> tuple[float, tuple[float, float]]:
    """The area under the ROC curve, the chance that an `outlying` score is larger; its interval.

    DeLong et al. 1988, *Comparing the areas under two or more correlated receiver operating
    characteristic curves*, on the logistic scale, so that it stays within 0 and 1. Where that
    variance is 0 and says nothing, Wilson's interval for the smaller set stands in. `paired` scores
    are of the same images, such as an image and its mirror image, in the same order.
    """
    few, many = len(inlying), len(outlying)
    ranks = rankdata(np.concatenate([inlying, outlying]))
    below = (ranks[few:] - rankdata(outlying)) / few  # share of the inlying below each outlying one
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


def selective_accuracy(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage `k / count` and accuracy of the `k` most confident images, k = 1, 2, …, count.

    Geifman and El-Yaniv 2017: the mean of the accuracies is the area under the curve, 1 minus that
    under the risk-coverage curve. Equally confident images count with their common accuracy.
    """
    confidence = probabilities.max(axis=1)
    correct = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    shared = (np.bincount(group, weights=correct) / size)[np.sort(group)]
    answered = np.arange(1, len(labels) + 1)
    return answered / len(labels), np.cumsum(shared) / answered
