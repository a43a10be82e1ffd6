"""How far apart two sets of pictures are, if their features were normally distributed."""

import numpy as np

from keras_pixelcnnpp.metrics.feature_checks import checked_features


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """The squared Fréchet (Wasserstein-2) distance of two Gaussians fitted to features.

    `|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)`, with unbiased covariances. Over the features of
    the Inception network, and only there, it is the FID. It is biased upwards, the more so the
    fewer pictures there are: compare numbers of equal counts only.

    Args:
        features_a: float `[count_a, dimensions]`, at least 2 rows.
        features_b: float `[count_b, dimensions]`, at least 2 rows.

    Returns:
        The distance, at least 0, in squared units of the features.

    Raises:
        ValueError: If the features aren't finite or don't fit each other.

    Example:

    >>> frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]]))
    9.0

    Reference:
        - Heusel et al., *GANs Trained by a Two Time-Scale Update Rule*, 2017, equation 6
    """
    from scipy.linalg import svdvals

    a, b = checked_features(features_a, features_b, at_least=2)
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    difference = a.mean(axis=0) - b.mean(axis=0)
    # With Σ = RᵀR, the eigenvalues of Σ_a Σ_b are the squared singular values of R_a R_bᵀ. Unlike
    # a matrix square root this is exact for singular covariances too, of few pictures.
    cross = svdvals(root_a @ root_b.T).sum()
    distance = difference @ difference + np.sum(root_a**2) + np.sum(root_b**2) - 2 * cross
    # Rounding may put the distance of equal sets below 0.
    return max(0.0, float(distance))


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """A matrix R `[min(count, dimensions), dimensions]` whose `RᵀR` is the covariance."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return centred if len(centred) <= centred.shape[1] else np.linalg.qr(centred, mode="r")
