"""Balls around points that reach to a near neighbour: an estimate of where a distribution lives."""

import numpy as np


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
