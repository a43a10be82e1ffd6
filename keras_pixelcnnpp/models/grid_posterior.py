"""Posterior of the vectors on which a model is conditioned, on a grid, and its score function."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from keras_pixelcnnpp.layers.conditions import Vectors
from keras_pixelcnnpp.models.likelihood import LikelihoodModel
from keras_pixelcnnpp.models.scoring import evaluated, score_observed
from keras_pixelcnnpp.sampling.options import ScoringOptions
from keras_pixelcnnpp.utils.backend import Tensor, Tensors, gradient
from keras_pixelcnnpp.utils.checks import require_number
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


@dataclass(frozen=True, eq=False)
class GridPosterior:
    """Posterior p(h | images) of vectors on a grid, from `AutoregressiveModel.grid_posterior`.

    Attributes:
        grid: Float array `(K, size)`, the vectors.
        log_prob: Float64 array `(N, K)`, the logarithm of their probabilities for each image or
            group of images, nats. The probabilities of a row add up to 1.
        groups: The sorted values of the argument `groups`, one for each row, or `None`.
    """

    grid: np.ndarray
    log_prob: np.ndarray
    groups: np.ndarray | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities of the vectors, float64 `(N, K)`."""
        return np.exp(self.log_prob)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each component, float64 `(N, size)`."""
        return self.probabilities @ self.grid

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the components, float64 `(N, size, size)`."""
        distance = self.grid - self.mean[:, None]
        return np.einsum("nk,nki,nkj->nij", self.probabilities, distance, distance)

    def interval(self, level: float = 0.9) -> np.ndarray:
        """Returns central credible intervals of each component, float64 `(N, size, 2)`.

        The probability of a value of the grid is spread evenly over its cell, which ends halfway to
        the neighboring values.

        Args:
            level: Number in (0, 1), the probability of the interval.
        """
        require_number("level", level, "(0, 1)")
        tails = (1 - level) / 2, (1 + level) / 2
        components = [self._quantiles(index, tails) for index in range(self.grid.shape[1])]
        return np.stack(components, axis=1)

    def _quantiles(self, index: int, tails: tuple[float, float]) -> np.ndarray:
        values, cells = np.unique(self.grid[:, index], return_inverse=True)
        if len(values) == 1:
            return np.full((len(self.log_prob), 2), values[0])
        marginal = np.zeros((len(self.log_prob), len(values)))
        np.add.at(marginal.T, cells, self.probabilities.T)
        middles = (values[1:] + values[:-1]) / 2
        edges = [2 * values[0] - middles[0], *middles, 2 * values[-1] - middles[-1]]
        upper = np.cumsum(marginal, axis=1)
        cumulative = np.concatenate([np.zeros_like(upper[:, :1]), upper], axis=1)
        return np.stack([np.interp(tails, row, edges) for row in cumulative])


def posterior_on_grid(
    model: LikelihoodModel,
    images: np.ndarray,
    grid: ArrayLike,
    log_prior: ArrayLike | None,
    groups: ArrayLike | None,
    options: ScoringOptions,
) -> GridPosterior:
    """Computes the posterior; see `AutoregressiveModel.grid_posterior`. `images` are checked."""
    vectors = vectors_of(model)
    grid = vectors.requested(grid)
    prior = np.zeros(len(grid)) if log_prior is None else np.asarray(log_prior, "float64")
    if prior.shape != (len(grid),) or not (prior < np.inf).all():
        raise invalid_argument("log_prior", log_prior, f"{len(grid)} numbers, one for each vector")
    if not np.isfinite(prior).any():
        raise invalid_argument("log_prior", log_prior, "a finite number for at least one vector")
    if np.ndim(options.observed) == 1:
        expected = "an integer, a boolean mask, or None"
        raise invalid_argument("observed", options.observed, expected)
    candidates = np.broadcast_to(vectors.scaled(grid), (len(images), *grid.shape))
    scores, _ = score_observed(model, images, candidates, options)
    scores, names = scores.astype("float64"), None
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (len(images),):
            raise invalid_argument("groups", groups, f"{len(images)} values, one for each image")
        names, rows = np.unique(groups, return_inverse=True)
        sums = np.zeros((len(names), len(grid)))
        np.add.at(sums, rows, scores)
        scores = sums
    scores = scores + prior
    log_prob = scores - logsumexp(scores, axis=1, keepdims=True)
    return GridPosterior(grid, log_prob, names)


def vectors_of(model: LikelihoodModel) -> Vectors:
    """Returns the conditions of a model of vectors, or raises a `UserError`."""
    if not isinstance(model.conditions, Vectors):
        raise UserError(
            "Expected a model conditioned on `Vectors`. Received: a model of "
            f"{model.conditions.description}, whose posterior is `class_probabilities`"
        )
    return model.conditions


def scores_of_vectors(
    model: LikelihoodModel, images: np.ndarray, vectors: np.ndarray, options: ScoringOptions
) -> np.ndarray:
    """Returns the gradients of log p(x | h) with respect to h, float64 `(N, size)`."""
    conditions = vectors_of(model)
    inputs = {"images": images, "labels": conditions.for_step(vectors)}
    found = evaluated(model, _gradients, inputs, options.batch_size, options.verbose)[:, 0]
    return found * conditions.slopes(vectors)  # the chain rule


def _gradients(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    def log_likelihood(vectors: Tensor) -> Tensor:
        return model.log_likelihood(inputs["images"], vectors)

    return gradient(log_likelihood, inputs["labels"])
