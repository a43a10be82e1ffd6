"""How sampled images compare with real ones: numbers from their features.

Features are float `[count, dimensions]`.
"""

import numpy as np
from scipy.linalg import svdvals
from sklearn.metrics import pairwise_distances_chunked
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

from keras_pixelcnnpp.distributions.levels import to_levels

FIDELITY_METRICS = ("frechet_distance", "kid", "precision", "recall", "density", "coverage")

# Of the papers; so many images and one more are needed.
MANIFOLD_NEIGHBORS = 3
DENSITY_NEIGHBORS = 5


def fidelity_metrics(real: np.ndarray, generated: np.ndarray) -> dict[str, float | None]:
    """A number for each of `FIDELITY_METRICS`, ready for JSON; `None` for want of images."""
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
    """The squared Fréchet distance of Gaussians fitted to two sets (Heusel et al. 2017, eq. 6).

    `|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)`: of Inception's features the FID. It is biased
    upwards, the more so the fewer images there are: compare numbers of equal counts only.
    """
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    difference = a.mean(axis=0) - b.mean(axis=0)
    # With Σ = RᵀR, the eigenvalues of Σ_a Σ_b are the squared singular values of R_a R_bᵀ. Unlike
    # a matrix square root this is exact for singular covariances too, of few images.
    cross = svdvals(root_a @ root_b.T).sum()
    distance = difference @ difference + np.sum(root_a**2) + np.sum(root_b**2) - 2 * cross
    # Rounding may put the distance of equal sets below 0.
    return max(0.0, float(distance))


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """A matrix R `[min(count, dimensions), dimensions]` whose `RᵀR` is the covariance."""
    centered = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return centered if len(centered) <= centered.shape[1] else np.linalg.qr(centered, mode="r")


def kernel_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """The squared maximum mean discrepancy under a cubic kernel (Bińkowski et al. 2018, eq. 4).

    Of Inception's features the KID, over every pair of images instead of random subsets.
    Unbiased: of two sets of one distribution its mean is 0, so it may fall below.
    """

    def kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
        batches = gen_batches(len(a), 2000)  # which bounds the memory
        return float(sum(polynomial_kernel(a[rows], b).sum() for rows in batches))

    def mean_within(features: np.ndarray) -> float:
        count, dimensions = features.shape
        own = (np.sum(features**2, axis=1) / dimensions + 1) ** 3
        return (kernel_sum(features, features) - own.sum()) / (count * (count - 1))

    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    return mean_within(a) + mean_within(b) - 2 * kernel_sum(a, b) / (len(a) * len(b))


def precision_recall(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """The share of generated images within the real ones' manifold, and the other way round.

    A set's manifold is the union of the balls around its points, each as large as the distance to
    the `MANIFOLD_NEIGHBORS`-th nearest other one (Kynkäänniemi et al. 2019, equations 1 and 2).
    """
    among_real, _ = _ball_membership(generated, real, MANIFOLD_NEIGHBORS)
    among_generated, _ = _ball_membership(real, generated, MANIFOLD_NEIGHBORS)
    return float(np.mean(among_real > 0)), float(np.mean(among_generated > 0))


def density_coverage(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """In how many balls of real images a generated one lies, and the share of balls with one.

    Density is relative to k = `DENSITY_NEIGHBORS`: about 1 for images of one distribution, whose
    coverage is about `1 − 2^−k` (Naeem et al. 2020, equations 2, 3 and 9).
    """
    balls, occupied = _ball_membership(generated, real, DENSITY_NEIGHBORS)
    return float(balls.mean() / DENSITY_NEIGHBORS), float(occupied.mean())


def _ball_membership(
    points: np.ndarray, centers: np.ndarray, neighbors: int
) -> tuple[np.ndarray, np.ndarray]:
    """In how many balls each point lies, int, and whether a point is in each ball, bool.

    The ball around a center reaches to its `neighbors`-th nearest other center.
    """
    # Without an argument, kneighbors leaves each point out of its own neighbors.
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
    """The `count` rows of `pool` closest to each query: Euclidean distances, rising, and rows.

    Both `[num_queries, count]`.
    """
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(pool)
    rows = search.kneighbors(queries, return_distance=False)
    # The search expands (x − y)², so that rounding would hide that two images are identical.
    distances = np.stack([np.linalg.norm(queries - pool[column], axis=1) for column in rows.T], 1)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)


def memorization(generated: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    """Whether sampled images lie closer to the training images than unseen real ones do.

    From the distance `[count]` of each to the nearest training image. Without memorization,
    shares of 0.5 and 0.05 are expected; but blurred or simple images lie close too: look at them.
    """
    low, median = np.quantile(held_out, [0.05, 0.5])
    return {
        "median_distance": float(np.median(generated)),
        "held_out_median_distance": float(median),
        "share_closer_than_median": float(np.mean(generated < median)),
        "share_closer_than_5_percent": float(np.mean(generated < low)),
        "identical": float(np.mean(generated == 0)),
    }


def pixel_histogram_log_prob(
    training: np.ndarray, images: np.ndarray, num_levels: int
) -> np.ndarray:
    """The log-likelihood of images under one histogram per pixel and channel: float64 `[N]`, nats.

    Args:
        training: uint8 `[count, height, width, channels]`, what the histograms are of. They are
            smoothed by one image of each level (Laplace): a level that training never showed at
            some place has a probability too.
        images: uint8 `[N, height, width, channels]`.
        num_levels: Integer, the number of levels that the model beside it sees.
    """
    seen, asked = (
        to_levels(np.asarray(pixels), num_levels).reshape(len(pixels), -1)
        for pixels in (training, images)
    )
    counts = np.stack([1.0 + np.sum(seen == level, axis=0) for level in range(num_levels)])
    log_probabilities = np.log(counts / counts.sum(axis=0))
    return np.take_along_axis(log_probabilities, asked.astype(int), axis=0).sum(axis=1)
