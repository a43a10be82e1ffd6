"""Precision and recall that a few odd pictures don't spoil."""

import numpy as np

from keras_pixelcnnpp.metrics.balls import ball_membership
from keras_pixelcnnpp.metrics.feature_checks import checked_features


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
