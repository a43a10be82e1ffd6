"""Computes log-likelihoods of images, in batches that bound the memory of the network."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import logsumexp, softmax

from keras_pixelcnnpp.conditions import Values
from keras_pixelcnnpp.conditions.classes import class_of, groups, with_classes, with_one_class
from keras_pixelcnnpp.conditions.values import (
    flat_candidates,
    joined_values,
    num_candidates,
    taken,
)
from keras_pixelcnnpp.data.batches import array_batches
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.likelihood import LikelihoodModel
from keras_pixelcnnpp.sampling.options import SamplingOptions, ScoringOptions
from keras_pixelcnnpp.sampling.sampler import sample_images
from keras_pixelcnnpp.utils.backend import (
    Nest,
    Tensor,
    Tensors,
    compiled,
    compiles_each_size,
    in_batches,
    in_turn,
)
from keras_pixelcnnpp.utils.checks import checked_observed, checked_rows, is_prefix
from keras_pixelcnnpp.utils.memory import rows_at_once


def images_at_once(model: LikelihoodModel) -> int:
    """Returns the number of pairs of an image and a class that are scored at once."""
    return rows_at_once(model.image_shape, (*model.widths, model.distribution.num_parameters))


def class_scores(
    model: LikelihoodModel,
    images: Tensor,
    values: Values | None = None,
    training: bool = False,
) -> Tensor:
    """Computes the log-likelihood of images under every class, in parts to bound the memory.

    `images` is an integer tensor `(batch, height, width, channels)`, and `values` `(batch, ...)`
    are those of the condition, of which other classes are taken; none if a model needs none. The
    result is a float32 tensor `(batch, K)`, nats, with K = 1 for a model without classes. With
    `training`, dropout is active, and everything is computed at once, as in the loss.
    """
    candidates = len(model.conditions.all_classes)
    size = max(1, images_at_once(model) // candidates)
    rows = ops.shape(images)[0]
    if values is None:  # the classes of which are replaced
        values = keras.tree.map_structure(
            lambda spec: ops.zeros((rows, *spec.shape[2:]), spec.dtype),
            model.conditions.spec(None, 1),
        )
    is_known = images.shape[0] is not None
    if training or (is_known and rows <= size):
        return _scores_of(model, images, values, training)
    # TensorFlow may not know the number of images yet. There is one part if they are few.
    count = (rows + size - 1) // size
    count = count if is_known else ops.maximum(count, 1)
    size = (rows + count - 1) // count
    # The last part is padded with the last image.
    positions = ops.minimum(ops.arange(count * size, dtype="int32"), rows - 1)
    parts = keras.tree.map_structure(
        lambda x: ops.reshape(ops.take(x, positions, axis=0), (count, size, *x.shape[1:])),
        (images, values),
    )
    scores = in_turn(lambda part: _scores_of(model, *part), parts)
    return ops.reshape(scores, (-1, candidates))[:rows]


def _scores_of(
    model: LikelihoodModel, images: Tensor, values: Values, training: bool = False
) -> Tensor:
    values = with_classes(values, model.conditions.all_classes)
    if training:
        return model.log_likelihood(images, values, True)
    return for_values(model, partial(model.log_likelihood, images), values)


def for_values(
    model: LikelihoodModel, function: Callable[[Values], Tensor], values: Values
) -> Tensor:
    """Returns `function(values)`, `(batch, K, ...)`, evaluated in parts to bound the memory.

    `values` are `(batch, K, ...)`, or `(batch, 1, ...)` where all candidates share a value.
    """
    at_once, candidates = images_at_once(model), num_candidates(values)
    if candidates <= at_once:
        return function(values)
    steps, arrays = -(-candidates // at_once), keras.tree.flatten(values)
    differ = [index for index, array in enumerate(arrays) if array.shape[1] > 1]
    positions = np.arange(steps * at_once) % candidates

    def by_step(array: Tensor) -> Tensor:
        array = ops.take(array, positions, axis=1)
        return ops.moveaxis(ops.reshape(array, (-1, steps, at_once, *array.shape[2:])), 1, 0)

    def evaluate(parts: list[Tensor]) -> Tensor:
        given = dict(zip(differ, parts, strict=True))
        both = [given.get(index, array) for index, array in enumerate(arrays)]
        return function(keras.tree.pack_sequence_as(values, both))

    found = in_turn(evaluate, [by_step(arrays[index]) for index in differ])
    found = ops.moveaxis(found, 0, 1)
    return ops.reshape(found, (-1, steps * at_once, *found.shape[3:]))[:, :candidates]


def score(
    model: LikelihoodModel,
    images: np.ndarray,
    values: Values,
    options: ScoringOptions,
    per: str = "image",
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Returns log-likelihoods of images, rows or pixels under their values, float32, nats.

    `images` are uint8 `(N, height, width, channels)`, and `values` `(N, K, ...)`. The result is
    `(N, K)` for `per="image"`, `(N, K, height)` for `"row"`, and `(N, K, height, width)` for
    `"pixel"`. Optional `finish` replaces the result of each batch.
    """
    if len(images) == 0:
        place = model.image_shape[: ("image", "row", "pixel").index(per)]
        return np.zeros((0, num_candidates(values), *place), "float32")
    inputs = {"images": images, "values": values}

    def finished(result: np.ndarray, _: dict[str, np.ndarray]) -> np.ndarray:
        return result if finish is None else finish(result)

    how = options.batch_size, options.verbose
    return evaluated(model, SCORERS[per], inputs, *how, finished)


def evaluated(
    model: LikelihoodModel,
    function: Callable[[LikelihoodModel, Tensors], Tensor],
    inputs: dict[str, Nest],
    batch_size: int,
    verbose: int | str = 0,
    finish: Callable[[np.ndarray, dict[str, np.ndarray]], np.ndarray] | None = None,
) -> np.ndarray:
    """Evaluates a function of a model and a dict of tensors in batches of bounded memory.

    The model keeps the compiled function. `inputs` are arrays with the same number of rows, and
    `batch_size` is the number of rows per batch, less for `"images"` with several `"values"` `(N,
    K, ...)`. Optional `finish(result, inputs)` replaces the result of each batch, in NumPy.
    """
    shapes = [array.shape[1] for array in keras.tree.flatten(inputs.get("values", []))]
    candidates = max(shapes, default=1)
    if "images" in inputs:
        batch_size = min(batch_size, max(1, images_at_once(model) // candidates))
    xla, count = bool(model.jit_compile), len(next(iter(inputs.values())))
    batches = array_batches(inputs, batch_size, pad=compiles_each_size(xla))
    step = model.compiled_functions.get(
        ("scorer", function, *shapes, xla),
        lambda: compiled(partial(function, model), model.variables, batches[0], xla=xla),
    )

    def evaluate(batch: dict[str, np.ndarray]) -> Any:
        result = step(batch)
        return result if finish is None else finish(ops.convert_to_numpy(result), batch)

    return in_batches(evaluate, batches, verbose)[:count]


def _pixel_scores(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    function = partial(model.pixel_log_likelihood, inputs["images"])
    return for_values(model, function, inputs["values"])


def _row_scores(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    return ops.sum(_pixel_scores(model, inputs), axis=3)


def _image_scores(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    return ops.sum(_pixel_scores(model, inputs), axis=(2, 3))


SCORERS = {"image": _image_scores, "row": _row_scores, "pixel": _pixel_scores}


def log_means(
    model: LikelihoodModel, images: np.ndarray, values: Values, options: ScoringOptions
) -> np.ndarray:
    """Returns the log-likelihood of each image under each value that a user gave, nats.

    The class of a value may be unknown, and p is then the mean over equally likely classes.
    `observed` of the options is not a sequence of numbers of rows. The result is float32 `(N, K)`.
    """
    conditions, observed = model.conditions, options.observed
    if observed is not None:
        observed = checked_observed(observed, len(images), model.image_shape)
    candidates = conditions.candidates_of(values)
    count = num_candidates(candidates)
    result = np.zeros((len(images), count), "float32")
    for rows, some in groups(candidates, conditions.num_classes):
        of_rows = options
        if observed is not None:
            of_rows = replace(options, observed=observed[rows])
        scores, _ = score_observed(model, images[rows], some, of_rows)
        result[rows] = log_marginal(scores.reshape(len(rows), count, -1))
    return result


def score_observed(
    model: LikelihoodModel,
    images: np.ndarray,
    values: Values,
    options: ScoringOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns log-likelihoods of parts of images, and those without one run each, nats.

    `values` are `(N, K, ...)`. `observed` of the options may be a sequence of M numbers of rows.

    Returns:
        Float32 array `(N, K)`, or `(N, M, K)` if `observed` is a sequence: the log of the mean of
        all runs. Float array `(R, N, K)` or `(R, N, M, K)` for `jackknife_error`: those of all runs
        except one, with R = `options.runs`; for exact likelihoods, R is 1.
    """
    observed = options.observed
    if observed is None:
        scores = score(model, images, values, options)
    elif np.ndim(observed) < 2:
        rows = checked_rows(observed, model.image_shape[0])
        scores = _up_to_rows(rows, score(model, images, values, options, "row"))
    else:
        known = checked_observed(observed, len(images), model.image_shape)
        if not is_prefix(known):
            return _estimates(model, images, values, known, options)
        if known.ndim == 4:  # a single particle is exact, because no sampled pixel precedes
            one = replace(options, num_particles=1, standard_error=False)
            return _estimates(model, images, values, known, one)
        by_pixel = score(model, images, values, options, "pixel")
        scores = np.einsum("nkij,nij->nk", by_pixel, known, dtype="float64").astype("float32")
    return scores, scores[None]


def _estimates(
    model: LikelihoodModel,
    images: np.ndarray,
    values: Values,
    known: np.ndarray,
    options: ScoringOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates the results of `score_observed` by sequential Monte Carlo."""
    candidates, runs = num_candidates(values), options.runs
    rows = np.tile(np.arange(len(images)).repeat(candidates), runs)
    values = joined_values([flat_candidates(values)] * runs)
    given = options.of_particles, images[rows], known[rows], options.num_particles
    _, estimates = sample_images(model, values, *given)
    estimates = estimates.reshape(runs, -1, candidates).astype("float64")
    scores = _log_mean(estimates)
    if runs == 1:
        return scores.astype("float32"), scores[None]
    without = [_log_mean(np.delete(estimates, run, axis=0)) for run in range(runs)]
    return scores.astype("float32"), np.stack(without)


def _log_mean(estimates: np.ndarray) -> np.ndarray:
    return logsumexp(estimates, axis=0) - np.log(len(estimates))


def jackknife_error(without: np.ndarray) -> np.ndarray:
    """Returns the standard error of a statistic, from its values without one run each, `(R, ...)`.

    With R = 1, for exact values, the error is 0.

    Reference:
        Efron & Stein 1981, The Jackknife Estimate of Variance.
    """
    runs = len(without)
    deviations = without - without.mean(axis=0)
    return np.sqrt((runs - 1) / runs * np.sum(deviations**2, axis=0))


def choose_classes(
    model: LikelihoodModel,
    values: Values,
    options: SamplingOptions,
    images: np.ndarray | None = None,
    known: np.ndarray | None = None,
    num_particles: int = 1,
    first: int = 0,
) -> Values:
    """Replaces classes -1 in values by random classes, sampled given the known pixels.

    The arguments are documented in `sample_images`, except for `first`, the position of the first
    image in a larger set; the seed of `options` is not `None`.
    """
    classes, every = class_of(values).copy(), model.conditions.all_classes
    rows = np.flatnonzero(classes < 0)
    if not len(rows):
        return values
    scores = np.zeros((len(rows), len(every)))
    if images is not None:
        how = ScoringOptions(
            batch_size=options.batch_size,
            observed=known[rows],
            num_particles=num_particles,
            seed=options.seed,
        )
        candidates = with_classes(taken(values, rows), every)
        scores, _ = score_observed(model, images[rows], candidates, how)
    classes[rows] = random_choices(scores, options.seed, first + rows)
    return with_one_class(values, classes)


def random_choices(scores: np.ndarray, seed: int, positions: np.ndarray) -> np.ndarray:
    """Samples one of K values of each image from the softmax of scores `(N, K)`, int `(N,)`."""
    # A separate random stream, so that the noise of an image is the same as with a given label.
    streams = [[seed, position, 1] for position in positions.tolist()]
    uniform = np.array([np.random.default_rng(stream).random() for stream in streams])
    cumulative = np.cumsum(softmax(scores.astype("float64"), axis=1), axis=1)
    chosen = (cumulative < uniform[:, None]).sum(axis=1)
    return np.minimum(chosen, scores.shape[1] - 1)


def _up_to_rows(rows: np.ndarray, by_row: np.ndarray) -> np.ndarray:
    """Sums log-likelihoods `(N, K, height)` over the first rows, to `(N, K)` or `(N, M, K)`."""
    # In float64, so that the sum up to a row does not depend on later rows.
    above = np.cumsum(np.moveaxis(by_row, 1, 2), axis=1, dtype="float64")
    above = np.concatenate([np.zeros_like(above[:, :1]), above], axis=1)
    return above[:, rows].astype("float32")


def log_marginal_of_pixels(by_class: np.ndarray) -> np.ndarray:
    """Returns log p(x_i | x_<i) of each pixel, where p(x) is the mean over the classes.

    `by_class` is log p(x_i | x_<i, y), `(N, num_classes, height, width)`. The result is float32
    `(N, height, width)`, nats. The sum over an image is log p(x).
    """
    count, num_classes, *size = by_class.shape
    if num_classes == 1:
        return by_class[:, 0]
    up_to = np.cumsum(by_class.reshape(count, num_classes, -1), axis=2, dtype="float64")
    marginal = np.logaddexp.reduce(up_to, axis=1) - np.log(num_classes)
    return np.diff(marginal, axis=1, prepend=0.0).reshape(count, *size).astype("float32")
