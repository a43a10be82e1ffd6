"""Are two classifiers, judged on the same pictures, really different?"""

import numpy as np


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
