"""The numbers that compare generated pictures with real ones."""

import numpy as np

from keras_pixelcnnpp.metrics.density import density_coverage
from keras_pixelcnnpp.metrics.frechet import frechet_distance
from keras_pixelcnnpp.metrics.kernel import kernel_distance
from keras_pixelcnnpp.metrics.manifold import precision_recall

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
