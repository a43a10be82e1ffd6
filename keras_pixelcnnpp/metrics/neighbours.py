"""Which pictures are most like a picture."""

import numpy as np

from keras_pixelcnnpp.metrics.feature_checks import checked_features


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
