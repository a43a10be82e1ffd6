"""Posterior of the vectors on which a model is conditioned, on a grid, and its score function."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from keras_pixelcnnpp.conditions import Conditions, Vectors
from keras_pixelcnnpp.models.likelihood import LikelihoodModel
from keras_pixelcnnpp.models.scoring import evaluated, log_means
from keras_pixelcnnpp.sampling.options import ScoringOptions
from keras_pixelcnnpp.utils.backend import Tensor, Tensors, gradient
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    checked_observed,
    is_prefix,
    require_choice,
    require_integer,
    require_no_mask,
    require_number,
)
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


@dataclass(frozen=True, eq=False)
class GridPosterior:
    """Posterior p(h | images) of vectors on a grid, from `AutoregressiveModel.grid_posterior`.

    The probability of a vector is spread evenly over its cell, which ends halfway to the
    neighboring values, and at the ends of the grid. Vectors that are not a product of the values of
    their components have no cells.

    Attributes:
        grid: Float array `(K, size)`, different vectors.
        log_prob: Float64 array `(N, K)`, the logarithm of their probabilities for each image or
            group of images, nats. The constructor normalizes the probabilities of a row.
        groups: The sorted values of the argument `groups`, one for each row, or `None`.
        names: Tuple of strings, the names of the components.

    Raises:
        UserError: If the arrays don't fit, or the grid has a vector twice.
    """

    grid: np.ndarray
    log_prob: np.ndarray
    groups: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        grid, log_prob = np.asarray(self.grid, "float64"), np.asarray(self.log_prob, "float64")
        if grid.ndim != 2 or log_prob.ndim != 2 or len(grid) != log_prob.shape[1]:
            raise UserError(
                "Expected a grid of shape (K, size) and log_prob of shape (N, K). Received: "
                f"{grid.shape} and {log_prob.shape}"
            )
        if len(np.unique(grid, axis=0)) < len(grid):
            raise UserError("Expected different vectors in a grid. Received: a vector twice")
        log_prob = log_prob - logsumexp(log_prob, axis=1, keepdims=True)
        names = self.names or [f"h{index}" for index in range(grid.shape[1])]
        object.__setattr__(self, "names", checked_class_names(names, grid.shape[1], "names"))
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "log_prob", log_prob)

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
        """Covariance of the components, float64 `(N, size, size)`, including that of a cell."""
        distance = self.grid - self.mean[:, None]
        between = np.einsum("nk,nki,nkj->nij", self.probabilities, distance, distance)
        within = self.probabilities @ (np.diff(self._cells, axis=0)[0] ** 2 / 12)
        return between + within[:, None] * np.eye(self.grid.shape[1])

    def interval(self, level: float = 0.9) -> np.ndarray:
        """Returns central credible intervals of each component, float64 `(N, size, 2)`.

        Args:
            level: Number in (0, 1), the probability of the intervals.
        """
        require_number("level", level, "(0, 1)")
        tails = (1 - level) / 2, (1 + level) / 2
        return np.stack([self.marginal(name)._quantiles(tails) for name in self.names], axis=1)

    def _quantiles(self, tails: tuple[float, float]) -> np.ndarray:
        """Returns quantiles of a posterior of one component with sorted values, `(N, 2)`."""
        values, cumulative = self.grid[:, 0], self._cumulative
        found = np.stack([np.interp(tails, row, _edges(values)) for row in cumulative])
        return found.clip(values[0], values[-1])

    @property
    def _cumulative(self) -> np.ndarray:
        """Probability below each edge of the sorted cells, `(N, K + 1)`."""
        upper = np.cumsum(self.probabilities, axis=1)
        return np.concatenate([np.zeros_like(upper[:, :1]), upper], axis=1)

    @property
    def _cells(self) -> np.ndarray:
        """Lower and upper ends of the cell of each vector, `(2, K, size)`."""
        if not _is_product(self.grid):
            return np.stack([self.grid, self.grid])
        ends = []
        for component in self.grid.T:
            values, index = np.unique(component, return_inverse=True)
            edges = _edges(values).clip(values[0], values[-1])
            ends.append([edges[index], edges[index + 1]])
        return np.moveaxis(np.array(ends), 0, -1)

    def below(self, vectors: ArrayLike) -> np.ndarray:
        """Returns the posterior probability below each component of vectors, one for each row.

        Args:
            vectors: Float array `(N, size)`, or a table or dict with a column for each name.

        Returns:
            Float64 array `(N, size)`. For true vectors, it is uniform if the posterior is
            calibrated (`rank_statistics`). Vectors outside of the grid issue a warning.
        """
        vectors = self._by_row(vectors)
        found = np.zeros_like(vectors)
        for index, name in enumerate(self.names):
            one = self.marginal(name)
            edges = _edges(one.grid[:, 0])
            _note_outside(name, vectors[:, index], edges)
            for row, cumulative in enumerate(one._cumulative):
                found[row, index] = np.interp(vectors[row, index], edges, cumulative)
        return found

    def _by_row(self, vectors: Any) -> np.ndarray:
        """Returns vectors of the rows, float64 `(N, size)`; columns are selected by name."""
        part = Vectors(len(self.names), names=self.names)
        return part.parse(vectors, len(self.log_prob)).astype("float64")

    def marginal(self, *names: str) -> "GridPosterior":
        """Returns the posterior of some components.

        Args:
            *names: Strings, names of components.
        """
        for name in names:
            require_choice("names", name, self.names)
        columns = self.grid[:, [self.names.index(name) for name in names]]
        values, cells = np.unique(columns, axis=0, return_inverse=True)
        mass = np.zeros((len(self.log_prob), len(values)))
        np.add.at(mass.T, cells.reshape(-1), self.probabilities.T)
        with np.errstate(divide="ignore"):
            return GridPosterior(values, np.log(mass), self.groups, names)

    def with_prior(self, log_prior: ArrayLike) -> "GridPosterior":
        """Returns the posterior under another prior, by which this one is multiplied.

        Args:
            log_prior: Array `(K,)`, log-density of each vector, nats, up to a constant.
        """
        return replace(self, log_prob=self.log_prob + checked_log_prior(log_prior, len(self.grid)))

    def sample(self, count: int, seed: int | None = None) -> np.ndarray:
        """Returns samples of the posterior of each row, float64 `(N, count, size)`.

        Args:
            count: Integer, number of samples of each row.
            seed: Integer, random seed.
        """
        require_integer("count", count)
        rng = np.random.default_rng(seed)
        low, high = self._cells
        chosen = [rng.choice(len(low), count, p=row) for row in self.probabilities]
        return rng.uniform(low[chosen], high[chosen])

    def summary(self, level: float = 0.9, true: ArrayLike | None = None) -> dict[str, np.ndarray]:
        """Returns the columns of a table with a row for each image or group.

        Args:
            level: Number in (0, 1), the probability of the intervals.
            true: Optional array `(N, size)`, the true vectors, or a table or dict with a column for
                each name.

        Returns:
            Dict of arrays `(N,)`, such as `beta_mean`, `beta_sd`, `beta_low`, `beta_high` and, with
            `true`, `beta_true`; `pandas.DataFrame` takes it. The first one is `group`, if there are
            groups.
        """
        columns = {} if self.groups is None else {"group": self.groups}
        deviation = np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))
        mean, interval = self.mean, self.interval(level)
        given = None if true is None else self._by_row(true)
        for index, name in enumerate(self.names):
            columns[f"{name}_mean"], columns[f"{name}_sd"] = mean[:, index], deviation[:, index]
            columns[f"{name}_low"], columns[f"{name}_high"] = interval[:, index].T
            if given is not None:
                columns[f"{name}_true"] = given[:, index]
        return columns

    def corner(self, row: int = 0, true: ArrayLike | None = None) -> Any:
        """Returns a `matplotlib.figure.Figure` of the marginals of one row, and of all pairs.

        Args:
            row: Integer, the image or group.
            true: Optional array `(size,)`, the true vector, which is marked.
        """
        from matplotlib.figure import Figure

        # A component with one value has nothing to show. A figure needs a panel.
        shown = [n for n, values in zip(self.names, self.grid.T, strict=True) if np.ptp(values)]
        shown, where = shown or [self.names[0]], {}
        if true is not None:
            where = dict(zip(self.names, np.ravel(true), strict=True))
        figure = Figure(figsize=(1.5 + 2 * len(shown),) * 2, layout="constrained")
        panels = figure.subplots(len(shown), len(shown), squeeze=False, sharex="col")
        for (i, j), axes in np.ndenumerate(panels):
            if i < j:
                axes.remove()
                continue
            one = self.marginal(*dict.fromkeys([shown[j], shown[i]]))
            if i == j:
                axes.plot(one.grid[:, 0], one.probabilities[row], drawstyle="steps-mid")
                axes.set_yticks([])
            else:
                axes.tricontourf(*one.grid.T, one.probabilities[row], levels=12)
                if shown[i] in where:
                    axes.axhline(where[shown[i]], color="tab:red", linewidth=1)
            if shown[j] in where:
                axes.axvline(where[shown[j]], color="tab:red", linewidth=1)
            # A name may contain $, which is mathematics for matplotlib.
            if i == len(shown) - 1:
                axes.set_xlabel(shown[j], parse_math=False)
            if j == 0 and i:
                axes.set_ylabel(shown[i], parse_math=False)
        return figure


def _note_outside(name: str, true: np.ndarray, edges: np.ndarray) -> None:
    """Issues a warning for true values of a component outside of the cells of a grid."""
    outside = (true < edges[0]) | (true > edges[-1])
    if len(edges) > 2 and outside.any():
        warnings.warn(
            f"{outside.sum()} of {len(true)} values of {name}, such as {true[outside][0]:.9g}, are "
            f"outside of the grid from {edges[0]:.9g} to {edges[-1]:.9g}, so that their ranks are "
            "0 or 1. Use a wider grid",
            stacklevel=4,
        )


def _edges(values: np.ndarray) -> np.ndarray:
    """Returns the edges of the cells of sorted values; the outer cells are symmetric."""
    if len(values) == 1:
        return values.repeat(2)
    middles = (values[1:] + values[:-1]) / 2
    return np.array([2 * values[0] - middles[0], *middles, 2 * values[-1] - middles[-1]])


def _is_product(grid: np.ndarray) -> bool:
    """Returns whether a grid of different vectors has all combinations of its values."""
    return np.prod([len(np.unique(values)) for values in grid.T], dtype="float64") == len(grid)


def log_volumes(grid: np.ndarray) -> np.ndarray:
    """Returns the logarithm of the volume of the cell of each vector, 0 without cells, `(K,)`."""
    total = np.zeros(len(grid))
    if _is_product(grid):
        for component in grid.T:
            values, index = np.unique(component, return_inverse=True)
            if len(values) > 1:
                total += np.log(np.diff(_edges(values)))[index]
    return total


def grid_vectors(vectors: Vectors, grid: Any) -> np.ndarray:
    """Returns the vectors of the argument `grid` of `grid_posterior`, float64 `(K, size)`."""
    are_sequences = isinstance(grid, list | tuple) and len(grid) == vectors.size > 1
    if are_sequences and all(isinstance(values, list | tuple) for values in grid):
        # They could be the values of each component, or as many vectors.
        names = ", ".join(f"{name!r}: …" for name in vectors.names)
        expected = f"the values of each component, {{{names}}}, or vectors as an array (K, size)"
        raise invalid_argument("grid", grid, expected)
    if isinstance(grid, dict):
        if {*grid} != {*vectors.names}:
            raise invalid_argument("grid", grid, f"values of {', '.join(vectors.names)}")
        grid = [grid[name] for name in vectors.names]
    elif not (
        isinstance(grid, list | tuple)
        and len(grid) == vectors.size
        and all(isinstance(values, np.ndarray) and values.ndim == 1 for values in grid)
    ):
        return _parsed(vectors, grid)
    axes = np.meshgrid(*(np.atleast_1d(values) for values in grid), indexing="ij")
    return _parsed(vectors, np.stack(axes, axis=-1).reshape(-1, vectors.size))


def _parsed(vectors: Vectors, grid: Any) -> np.ndarray:
    return vectors.parse(grid, vectors.number_of(grid)).astype("float64")


def checked_log_prior(log_prior: ArrayLike, count: int) -> np.ndarray:
    """Returns log-densities of `count` vectors as a float64 array, or raises a `UserError`."""
    prior = np.asarray(log_prior, "float64")
    if prior.shape != (count,) or not (prior < np.inf).all():
        raise invalid_argument("log_prior", log_prior, f"{count} numbers, one for each vector")
    if not np.isfinite(prior).any():
        raise invalid_argument("log_prior", log_prior, "a finite number for at least one vector")
    if count > 1 and (prior >= 0).all() and abs(prior.sum() - 1) < 1e-6:
        warnings.warn(
            "The numbers in `log_prior` add up to 1, as probabilities do. Expected their logarithm",
            stacklevel=4,
        )
    return prior


def posterior_on_grid(
    model: LikelihoodModel,
    images: np.ndarray,
    grid: Any,
    log_prior: ArrayLike | None,
    groups: ArrayLike | None,
    options: ScoringOptions,
    condition: Any = None,
) -> GridPosterior:
    """Computes the posterior; see `AutoregressiveModel.grid_posterior`. `images` are checked."""
    vectors = vectors_of(model.conditions)
    grid = grid_vectors(vectors, grid)
    if len(np.unique(grid, axis=0)) < len(grid):  # before the work
        raise invalid_argument("grid", grid, "different vectors")
    prior = log_volumes(grid)
    if log_prior is not None:
        prior = prior + checked_log_prior(log_prior, len(grid))
    if np.ndim(options.observed) == 1:
        expected = "an integer, a boolean mask, or None"
        raise invalid_argument("observed", options.observed, expected)
    names, rows = rows_of_groups(groups, len(images))
    scores = _scores_on_grid(model, images, grid, options, condition)
    found = GridPosterior(grid, summed(scores, rows) + prior, names, vectors.names)
    for name, bounds in zip(vectors.names, model.encoder[Vectors.name].bounds.T, strict=True):
        _note_coarse(name, found.marginal(name), bounds)
    return found


def _note_coarse(name: str, marginal: GridPosterior, bounds: np.ndarray) -> None:
    """Issues a warning if most posteriors of a component are at one value, or at an end.

    A grid need not go beyond the bounds of the model.
    """
    count, last, values = len(marginal.log_prob), len(marginal.grid) - 1, marginal.grid[:, 0]
    is_certain = marginal.probabilities.max(axis=1, initial=0) > 0.5
    most, slack = marginal.log_prob.argmax(axis=1), 0.01 * (bounds[1] - bounds[0])
    at_end = (most == 0) & (values[0] > bounds[0] + slack)
    at_end |= (most == last) & (values[-1] < bounds[1] - slack)
    at_end &= is_certain
    if last < 2 or is_certain.sum() <= count / 2:
        return
    where, number = (
        "one value: the grid is coarser than the posterior. Use a finer grid",
        is_certain,
    )
    if at_end.sum() > count / 2:
        where, number = "an end of the grid, and may continue beyond it. Use a wider grid", at_end
    warnings.warn(
        f"In {number.sum()} of {count} posteriors, more than half of the probability of {name} is "
        f"at {where}",
        stacklevel=4,
    )


def _scores_on_grid(
    model: LikelihoodModel,
    images: np.ndarray,
    grid: np.ndarray,
    options: ScoringOptions,
    condition: Any,
) -> np.ndarray:
    """Returns the log-likelihood of each image under each vector, float32 `(N, K)`, nats."""
    encoder = model.encoder
    # All images share the vectors, without a copy.
    scaled = encoder[Vectors.name].scaled(grid)
    vectors = np.broadcast_to(scaled, (len(images), *scaled.shape))
    others = encoder.scaled(model.conditions.parse_without(Vectors, condition, len(images)))
    return log_means(model, images, {**others, Vectors.name: vectors}, options)


def rows_of_groups(groups: ArrayLike | None, count: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Returns the sorted groups, and the position of each image's group in them.

    Without groups, these are `None` and the positions of the images.
    """
    if groups is None:
        return None, np.arange(count)
    require_no_mask(groups, "groups")
    array = np.asarray(groups)
    if array.shape != (count,):
        raise invalid_argument("groups", groups, f"{count} values, one for each image")
    if any(group is None or group != group for group in array.tolist()):  # NaN
        raise invalid_argument("groups", groups, "no missing values")
    return np.unique(array, return_inverse=True)


def summed(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sums scores `(N, …)` of images over their groups, in float64."""
    sums = np.zeros((rows.max(initial=-1) + 1, *scores.shape[1:]))
    np.add.at(sums, rows, scores)
    return sums


def vectors_of(conditions: Conditions) -> Vectors:
    """Returns the part of conditions that are vectors, or raises a `UserError`."""
    for part in conditions:
        if isinstance(part, Vectors):
            return part
    raise UserError(
        f"Expected a model conditioned on `Vectors`. Received: a model of {conditions.description}"
    )


def scores_of_vectors(
    model: LikelihoodModel,
    images: np.ndarray,
    vectors: ArrayLike,
    observed: ArrayLike | None,
    groups: ArrayLike | None,
    options: ScoringOptions,
) -> np.ndarray:
    """Computes `AutoregressiveModel.score_function`. `images` are checked."""
    if [part.kind for part in model.conditions] != [Vectors.kind]:
        raise UserError(
            "Expected a model conditioned on `Vectors` alone. Received: a model of "
            f"{model.conditions.description}"
        )
    part, encoder = vectors_of(model.conditions), model.encoder[Vectors.name]
    given = part.parse(vectors, len(images)).astype("float64")
    rows = rows_of_groups(groups, len(images))[1]
    inputs = {"images": images, "values": encoder.scaled(given)[:, None]}
    known = np.ones(images.shape[:3], bool)
    if observed is not None:
        known = checked_observed(observed, len(images), model.image_shape)
        if known.ndim > 3 or not is_prefix(known):
            expected = "pixels that precede all others in raster order"
            raise invalid_argument("observed", observed, expected)
    inputs["known"] = known.astype("float32")
    found = evaluated(model, _gradients, inputs, options.batch_size, options.verbose)[:, 0]
    return summed(found * encoder.slopes(given), rows)  # the chain rule


def _gradients(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    def log_likelihood(values: Tensor) -> Tensor:
        return model.pixel_log_likelihood(inputs["images"], values)[:, 0] * inputs["known"]

    return gradient(log_likelihood, inputs["values"])
