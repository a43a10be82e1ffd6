"""How sure one can be of the difference between two classifiers."""

import numpy as np


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
