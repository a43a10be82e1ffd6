"""Metrics that compare sampled images with real images by their features.

Features are float `[count, dimensions]`.
"""

import numpy as np
from scipy.linalg import svdvals
from sklearn.metrics import pairwise_distances_chunked
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

FIDELITY_METRICS = ("frechet_distance", "kid", "precision", "recall", "density", "coverage")

# The values of the papers. One image more than this number is needed.
MANIFOLD_NEIGHBORS = 3
DENSITY_NEIGHBORS = 5


def fidelity_metrics(real: np.ndarray, generated: np.ndarray) -> dict[str, float | None]:
    """Returns all `FIDELITY_METRICS`, for JSON; a metric is `None` if it needs more images."""
    numbers = dict.fromkeys(FIDELITY_METRICS)
    fewer = min(len(real), len(generated))
    if fewer >= 2:
        numbers["frechet_distance"] = frechet_distance(real, generated)
        numbers["kid"] = kernel_distance(real, generated)
    if fewer > MANIFOLD_NEIGHBORS:
        numbers["precision"], numbers["recall"] = precision_recall(real, generated)
    if fewer and len(real) > DENSITY_NEIGHBORS:
        numbers["density"], numbers["coverage"] = density_coverage(real, generated)
    return numbers


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Returns the squared Fréchet distance between Gaussians fitted to two sets of features.

    `|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)` (Heusel et al. 2017, eq. 6). With features of
    Inception, it is the FID. It is biased upwards, more so for fewer images: only compare values
    for equal numbers of images.
    """
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    difference = a.mean(axis=0) - b.mean(axis=0)
    # With Σ = RᵀR, the eigenvalues of Σ_a Σ_b are the squared singular values of R_a R_bᵀ. Unlike a
    # matrix square root, this is exact for the singular covariances of few images.
    cross = svdvals(root_a @ root_b.T).sum()
    distance = difference @ difference + np.sum(root_a**2) + np.sum(root_b**2) - 2 * cross
    # Rounding may make the distance of equal sets negative.
    return max(0.0, float(distance))


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """Returns R `[min(count, dimensions), dimensions]` such that `RᵀR` is the covariance."""
    centered = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return centered if len(centered) <= centered.shape[1] else np.linalg.qr(centered).R


def kernel_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Returns the squared maximum mean discrepancy with a cubic kernel (Bińkowski et al. 2018).

    With features of Inception, it is the KID, over all pairs of images instead of random subsets.
    It is unbiased (equation 4): its mean is 0 for equal distributions, so it can be negative.
    """

    def kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
        batches = gen_batches(len(a), 2000)  # bounds the memory
        return float(sum(polynomial_kernel(a[rows], b).sum() for rows in batches))

    def mean_within(features: np.ndarray) -> float:
        count, dimensions = features.shape
        own = (np.sum(features**2, axis=1) / dimensions + 1) ** 3
        return (kernel_sum(features, features) - own.sum()) / (count * (count - 1))

    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    return mean_within(a) + mean_within(b) - 2 * kernel_sum(a, b) / (len(a) * len(b))


def precision_recall(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """Returns precision and recall of generated images (Kynkäänniemi et al. 2019, eq. 1 and 2).

    Precision is the fraction of generated images within the manifold of the real ones, and recall
    the converse. The manifold of a set is the union of balls around its points that reach to the
    `MANIFOLD_NEIGHBORS`-th nearest other point.
    """
    among_real, _ = _ball_membership(generated, real, MANIFOLD_NEIGHBORS)
    among_generated, _ = _ball_membership(real, generated, MANIFOLD_NEIGHBORS)
    return float(np.mean(among_real > 0)), float(np.mean(among_generated > 0))


def density_coverage(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """Returns density and coverage of generated images (Naeem et al. 2020, eq. 2, 3 and 9).

    Density is the mean number of balls around real images that contain a generated image, divided
    by k = `DENSITY_NEIGHBORS`. Coverage is the fraction of these balls that contain one. For images
    of the same distribution, density is about 1 and coverage about `1 − 2^−k`.
    """
    balls, occupied = _ball_membership(generated, real, DENSITY_NEIGHBORS)
    return float(balls.mean() / DENSITY_NEIGHBORS), float(occupied.mean())


def _ball_membership(
    points: np.ndarray, centers: np.ndarray, neighbors: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of balls around each point, int, and which balls have a point, bool.

    The ball around a center reaches to its `neighbors`-th nearest other center.
    """
    # Without an argument, kneighbors does not count a point as its own neighbor.
    distances, _ = NearestNeighbors(n_neighbors=neighbors).fit(centers).kneighbors()
    radii = distances[:, -1]
    balls, occupied = [], np.zeros(len(centers), bool)
    for chunk in pairwise_distances_chunked(points, centers):
        inside = chunk <= radii
        balls.append(inside.sum(axis=1))
        occupied |= inside.any(axis=0)
    return np.concatenate(balls), occupied


def nearest_neighbors(
    queries: np.ndarray, pool: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns Euclidean distances and rows of the `count` nearest neighbors in `pool`.

    Both are `[num_queries, count]`, with ascending distances.
    """
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(pool)
    rows = search.kneighbors(queries, return_distance=False)
    # The search expands (x − y)², whose rounding errors can hide that two images are identical.
    distances = np.stack([np.linalg.norm(queries - pool[column], axis=1) for column in rows.T], 1)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)


def memorization(generated: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    """Tests whether samples are closer to the training images than held-out images are.

    Both arguments are distances to the nearest training image, float `[count]`. Without
    memorization, the shares are about 0.5 and 0.05. Blurred or simple images are close to training
    images as well, so look at the nearest neighbors.
    """
    low, median = np.quantile(held_out, [0.05, 0.5])
    return {
        "median_distance": float(np.median(generated)),
        "held_out_median_distance": float(median),
        "share_closer_than_median": float(np.mean(generated < median)),
        "share_closer_than_5_percent": float(np.mean(generated < low)),
        "identical": float(np.mean(generated == 0)),
    }
