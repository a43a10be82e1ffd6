"""Temperature scaling: one number that makes a classifier less sure of itself, or more."""

import numpy as np

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
