"""How sure one can be of an accuracy."""


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
