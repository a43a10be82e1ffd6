"""How far apart two sets of pictures are, without assuming a distribution of their features."""

import numpy as np

from keras_pixelcnnpp.metrics.feature_checks import checked_features

_ROWS = 2000  # of the kernel matrix at a time, which bounds the memory


def kernel_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """The squared maximum mean discrepancy of features under a cubic kernel, unbiased.

    The kernel is `(x·y / dimensions + 1)³`. Over the features of the Inception network it is the
    KID. Two sets of the same distribution have the expected distance 0 whatever their size, so
    that it may fall below 0. Published KIDs are means over random subsets, of the same expectation;
    this one uses every pair of pictures once.

    Args:
        features_a: float `[count_a, dimensions]`, at least 2 rows.
        features_b: float `[count_b, dimensions]`, at least 2 rows.

    Returns:
        The distance.

    Raises:
        ValueError: If the features aren't finite or don't fit each other.

    Example:

    >>> round(kernel_distance(np.array([[0.0], [0.0]]), np.array([[1.0], [1.0]])), 6)
    7.0

    Reference:
        - Bińkowski et al., *Demystifying MMD GANs*, 2018, equation 4 and section 4
    """
    a, b = checked_features(features_a, features_b, at_least=2)
    return _mean_within(a) + _mean_within(b) - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def _mean_within(features: np.ndarray) -> float:
    """The mean kernel of two different rows."""
    count, dimensions = features.shape
    own = (np.sum(features**2, axis=1) / dimensions + 1) ** 3
    return (_kernel_sum(features, features) - own.sum()) / (count * (count - 1))


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    from sklearn.metrics.pairwise import polynomial_kernel
    from sklearn.utils import gen_batches

    return float(sum(polynomial_kernel(a[rows], b).sum() for rows in gen_batches(len(a), _ROWS)))
