"""The numbers that compare generated pictures with real ones."""

import numpy as np

FIDELITY_METRICS = ("frechet_distance", "kid", "precision", "recall", "density", "coverage")


MANIFOLD_NEIGHBOURS = 3  # of the paper on precision and recall


DENSITY_NEIGHBOURS = 5  # of the paper on density and coverage


def fidelity_metrics(real: np.ndarray, generated: np.ndarray) -> dict[str, float | None]:
    """Fréchet and kernel distance, precision and recall, density and coverage.

    Args:
        real: float `[num_real, dimensions]`, features of real pictures.
        generated: float `[num_generated, dimensions]`, features of generated ones.

    Returns:
        A dictionary with a number for each of `FIDELITY_METRICS`, ready for JSON; `None` where
        there are too few pictures: the distances need two of each, precision and recall four of
        each, density and coverage six real ones and a generated one.
    """
    numbers = dict.fromkeys(FIDELITY_METRICS)
    fewer = min(len(real), len(generated))
    if fewer >= 2:
        numbers["frechet_distance"] = frechet_distance(real, generated)
        numbers["kid"] = kernel_distance(real, generated)
    if fewer > MANIFOLD_NEIGHBOURS:
        numbers["precision"], numbers["recall"] = precision_recall(
            real, generated, MANIFOLD_NEIGHBOURS
        )
    if len(real) > DENSITY_NEIGHBOURS and len(generated):
        numbers["density"], numbers["coverage"] = density_coverage(
            real, generated, DENSITY_NEIGHBOURS
        )
    return numbers


def checked_features(*sets: np.ndarray, at_least: int = 1, dtype="float64") -> list[np.ndarray]:
    """Returns each set of features as a `dtype` array `[count, dimensions]`; `None` keeps the type.

    Raises:
        ValueError: If a set isn't a matrix of finite numbers, has fewer than `at_least` rows, or
            the dimensions of two sets differ.
    """
    arrays = [np.asarray(features, dtype) for features in sets]
    for array in arrays:
        if array.ndim != 2 or len(array) < at_least or not np.isfinite(array).all():
            raise ValueError(
                f"Invalid features. Expected finite numbers of shape (count, dimensions), count at "
                f"least {at_least}. Received: shape={array.shape}"
            )
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                "Invalid features. Expected the same dimensions in every set. "
                f"Received: {arrays[0].shape[1]} and {array.shape[1]}"
            )
    return arrays


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


def precision_recall(
    real: np.ndarray, generated: np.ndarray, neighbours: int = 3
) -> tuple[float, float]:
    """Improved precision and recall of generated pictures.

    Precision is the share of generated pictures within the real ones' manifold, recall the share
    of real pictures within the generated ones'. The manifold of a set is the union of balls around
    its points, each as large as the distance to the `neighbours`-th nearest other point.

    Args:
        real: float `[num_real, dimensions]`, features of real pictures, more than `neighbours`.
        generated: float `[num_generated, dimensions]`, more than `neighbours` too.
        neighbours: Positive integer.

    Returns:
        Precision and recall, each in [0, 1].

    Raises:
        ValueError: If there are too few pictures, or their features don't fit each other.

    Reference:
        - Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing Generative
          Models*, 2019, equations 1 and 2
    """
    real, generated = checked_features(real, generated, at_least=neighbours + 1)
    among_real, _ = ball_membership(generated, real, neighbours)
    among_generated, _ = ball_membership(real, generated, neighbours)
    return float(np.mean(among_real > 0)), float(np.mean(among_generated > 0))


def density_coverage(
    real: np.ndarray, generated: np.ndarray, neighbours: int = 5
) -> tuple[float, float]:
    """Density and coverage of generated pictures.

    Both look at balls around the real pictures, each as large as the distance to the
    `neighbours`-th nearest other real picture. Density counts in how many balls a generated
    picture lies, relative to `neighbours`, so that a single outlier among the real pictures adds
    little. Coverage is the share of balls with a generated picture in them.

    Args:
        real: float `[num_real, dimensions]`, features of real pictures, more than `neighbours`.
        generated: float `[num_generated, dimensions]`, at least 1.
        neighbours: Positive integer.

    Returns:
        Density, at least 0 and about 1 for pictures of the same distribution, and coverage, in
        [0, 1], about `1 − 2^(−neighbours)` for as many pictures of the same distribution.

    Raises:
        ValueError: If there are too few pictures, or their features don't fit each other.

    Reference:
        - Naeem et al., *Reliable Fidelity and Diversity Metrics for Generative Models*, 2020,
          equations 2, 3 and 9
    """
    (real,) = checked_features(real, at_least=neighbours + 1)
    generated, _ = checked_features(generated, real)
    balls, occupied = ball_membership(generated, real, neighbours)
    return float(balls.mean() / neighbours), float(occupied.mean())


def ball_membership(
    points: np.ndarray, centres: np.ndarray, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which points lie in the balls around the centres.

    The ball around a centre reaches to its `neighbours`-th nearest other centre.

    Args:
        points: float64 `[num_points, dimensions]`.
        centres: float64 `[num_centres, dimensions]`, more of them than `neighbours`.
        neighbours: Positive integer.

    Returns:
        Int `[num_points]`, in how many balls each point lies, and bool `[num_centres]`, whether
        there is a point in each ball.
    """
    from sklearn.metrics import pairwise_distances_chunked
    from sklearn.neighbors import NearestNeighbors

    # Without an argument, kneighbors leaves each point out of its own neighbours.
    distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(centres).kneighbors()
    radii = distances[:, -1]
    balls, occupied = [], np.zeros(len(centres), bool)
    for chunk in pairwise_distances_chunked(points, centres):
        inside = chunk <= radii
        balls.append(inside.sum(axis=1))
        occupied |= inside.any(axis=0)
    return np.concatenate(balls), occupied


def nearest_neighbours(
    queries: np.ndarray, pool: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `pool` that are closest to each query.

    Args:
        queries: float `[num_queries, dimensions]`.
        pool: float `[num_pool, dimensions]`.
        count: Positive integer, how many neighbours; no more than `num_pool`.

    Returns:
        Euclidean distances, float64 `[num_queries, count]` in rising order, and the rows of `pool`,
        int `[num_queries, count]`.

    Raises:
        ValueError: If there are too few rows, or the dimensions differ.
    """
    from sklearn.neighbors import NearestNeighbors

    # Of the type they have: all the pixels of a training split take much memory in float64.
    (pool,) = checked_features(pool, at_least=count, dtype=None)
    queries, _ = checked_features(queries, pool, dtype=None)
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(pool)
    rows = search.kneighbors(queries, return_distance=False)
    # The search expands (x − y)², so that rounding would hide that two pictures are identical.
    distances = np.stack([np.linalg.norm(queries - pool[column], axis=1) for column in rows.T], 1)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)


def memorisation(generated: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    """Compares distances to the nearest training picture: generated against real, unseen pictures.

    A model that copies draws pictures closer to the training pictures than unseen real pictures
    are. One that draws blurred or simple pictures may do so too: look at them beside their
    neighbours.

    Args:
        generated: float `[num_generated]`, the distance of each generated picture to the nearest
            training picture.
        held_out: float `[num_held_out]`, the same for real pictures that weren't trained on.

    Returns:
        A dictionary ready for JSON: `median_distance` and `held_out_median_distance`,
        `share_closer_than_median` and `share_closer_than_5_percent`, the shares of generated
        pictures closer than half, and than all but 5 %, of the held-out ones (0.5 and 0.05 are
        expected without memorisation), and `identical`, the share at distance 0.

    Raises:
        ValueError: If there are no distances.

    Example:

    >>> memorisation([0, 3], [1, 2, 3])["share_closer_than_median"]
    0.5
    """
    generated, held_out = np.asarray(generated, float), np.asarray(held_out, float)
    if generated.size == 0 or held_out.size == 0:
        raise ValueError(
            "Expected distances of generated and of held-out pictures. "
            f"Received: {generated.size} and {held_out.size}"
        )
    low, median = np.quantile(held_out, [0.05, 0.5])
    return {
        "median_distance": float(np.median(generated)),
        "held_out_median_distance": float(median),
        "share_closer_than_median": float(np.mean(generated < median)),
        "share_closer_than_5_percent": float(np.mean(generated < low)),
        "identical": float(np.mean(generated == 0)),
    }


class PixelHistogram:
    """One histogram per pixel and channel, each independent of all the others.

    A model that looks at neighbouring pixels must need fewer bits than this one. The counts are
    smoothed (Laplace, one picture of each level is added), so that a level which training never
    showed at some place has a probability too.

    Args:
        images: uint8 `[count, height, width, channels]`, levels in `[0, num_levels)`.
        num_levels: The number of levels.

    Example:

    ```python
    floor = PixelHistogram(train.images, num_levels=17)
    floor.log_prob(test.images)          # float64 [count], nats
    ```
    """

    def __init__(self, images: np.ndarray, num_levels: int):
        flat = np.asarray(images).reshape(len(images), -1)
        counts = np.ones((num_levels, flat.shape[1]))
        for level in range(num_levels):
            counts[level] += np.sum(flat == level, axis=0)
        self._log_probabilities = np.log(counts / counts.sum(axis=0))

    def log_prob(self, images: np.ndarray) -> np.ndarray:
        """The log-likelihood of each picture.

        Args:
            images: uint8 `[count, height, width, channels]`, levels.

        Returns:
            float64 `[count]`, nats.
        """
        flat = np.asarray(images).reshape(len(images), -1)
        return np.take_along_axis(self._log_probabilities, flat.astype(int), axis=0).sum(axis=1)
