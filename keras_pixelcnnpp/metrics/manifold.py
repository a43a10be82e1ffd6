"""Are generated pictures like real ones, and do they show all that real ones show?"""

import numpy as np

from keras_pixelcnnpp.metrics.balls import ball_membership
from keras_pixelcnnpp.metrics.feature_checks import checked_features


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
