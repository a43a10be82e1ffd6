"""Simulation-based calibration of the posteriors of a model of vectors."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, kstest

from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.grid_posterior import vectors_of
from keras_pixelcnnpp.utils.checks import require_integer


class RankStatistics(NamedTuple):
    """Ranks of true vectors in their posteriors, from `rank_statistics`.

    Attributes:
        ranks: Float64 array `(N, size)`, the posterior probability below each component of the true
            vector. Ranks of calibrated posteriors are uniform in [0, 1].
        names: Tuple of strings, the names of the components.
    """

    ranks: np.ndarray
    names: tuple[str, ...]

    @property
    def p_values(self) -> np.ndarray:
        """P-value of each component, `(size,)`: Kolmogorov-Smirnov test of uniform ranks."""
        return np.array([kstest(ranks, "uniform").pvalue for ranks in self.ranks.T])

    def histogram(self, bins: int = 10, level: float = 0.99) -> tuple[np.ndarray, tuple]:
        """Returns the number of ranks in each bin, and the interval of the number if calibrated.

        Args:
            bins: Integer, number of bins of equal width.
            level: Number in (0, 1), the probability of the interval for one bin.

        Returns:
            Int array `(size, bins)`, and a pair of numbers.
        """
        require_integer("bins", bins)
        counts = [np.histogram(ranks, bins, (0, 1))[0] for ranks in self.ranks.T]
        return np.stack(counts), binom.interval(level, len(self.ranks), 1 / bins)

    def figure(self, bins: int = 10, level: float = 0.99) -> Any:
        """Returns a `matplotlib.figure.Figure` of the histograms, with the interval as a band.

        Args:
            bins: Integer, number of bins of equal width.
            level: Number in (0, 1), the probability of the interval for one bin.
        """
        from matplotlib.figure import Figure

        counts, band = self.histogram(bins, level)
        figure = Figure(figsize=(3 * len(counts), 3), layout="constrained")
        panels = figure.subplots(1, len(counts), squeeze=False, sharey=True)[0]
        for axes, name, heights in zip(panels, self.names, counts, strict=True):
            axes.stairs(heights, np.linspace(0, 1, bins + 1))
            axes.axhspan(*band, color="gray", alpha=0.3)
            axes.set_xlabel(f"rank of {name}", parse_math=False)
        return figure


def rank_statistics(
    model: AutoregressiveModel, images: np.ndarray, h: ArrayLike, grid: Any, **options: Any
) -> RankStatistics:
    """Finds the rank of each true vector in the posterior given its image.

    If the vectors are drawn from the prior and the images are simulated with them, the ranks are
    uniform for a calibrated posterior (simulation-based calibration). Ranks that pile up at both
    ends are those of posteriors that are too narrow, and ranks in the middle of too wide ones.

    Args:
        model: A model of `Vectors`.
        images: uint8 array `(N, height, width, channels)`.
        h: Float array `(N, size)`, the true vectors; with `groups`, one for each group in sorted
            order.
        grid: The grid, as in `grid_posterior`.
        **options: Further arguments of `grid_posterior`, such as `groups` and `log_prior`.

    Returns:
        `RankStatistics`.

    Raises:
        UserError: If the model is not conditioned on `Vectors`, or arguments don't fit.

    Example:

    ```python
    found = kp.rank_statistics(model, images, h, {"beta": np.linspace(0.2, 0.6, 41)})
    found.p_values, found.histogram()
    ```

    Reference:
        Talts et al. 2018, Validating Bayesian Inference Algorithms with Simulation-Based
        Calibration, https://arxiv.org/abs/1804.06788
    """
    found = model.grid_posterior(images, grid, **options)
    vectors = vectors_of(model.conditions).parse(h, len(found.log_prob))
    return RankStatistics(found.below(vectors), found.names)
