"""Computes log-likelihoods of images, in batches that bound the memory of the network."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from keras import ops
from scipy.special import logsumexp, softmax

from keras_pixelcnnpp.data.batches import array_batches
from keras_pixelcnnpp.models.likelihood import LikelihoodModel
from keras_pixelcnnpp.sampling.options import SamplingOptions, ScoringOptions
from keras_pixelcnnpp.sampling.sampler import sample_images
from keras_pixelcnnpp.utils.backend import (
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


def class_scores(model: LikelihoodModel, images: Tensor, training: bool = False) -> Tensor:
    """Computes the log-likelihood of images under every class, in parts to bound the memory.

    `images` is an integer tensor `(batch, height, width, channels)`. The result is a float32 tensor
    `(batch, num_classes)`, nats; `(batch, 1)` for an unconditional model. With `training`, dropout
    is active, and everything is computed at once, as in the loss.
    """
    candidates = model.conditions.num_candidates
    size = max(1, images_at_once(model) // candidates)
    rows = ops.shape(images)[0]
    is_known = images.shape[0] is not None
    if training or (is_known and rows <= size):
        return _scores_of(model, images, training)
    # TensorFlow may not know the number of images yet. There is one part if they are few.
    count = (rows + size - 1) // size
    count = count if is_known else ops.maximum(count, 1)
    size = (rows + count - 1) // count
    # The last part is padded with the last image.
    positions = ops.minimum(ops.arange(count * size, dtype="int32"), rows - 1)
    parts = ops.reshape(ops.take(images, positions, axis=0), (count, size, *model.image_shape))
    scores = in_turn(lambda part: _scores_of(model, part), parts)
    return ops.reshape(scores, (-1, candidates))[:rows]


def _scores_of(model: LikelihoodModel, images: Tensor, training: bool = False) -> Tensor:
    labels = model.conditions.tensor_of_candidates(ops.shape(images)[0])
    if training:
        return model.log_likelihood(images, labels, True)
    return for_labels(model, partial(model.log_likelihood, images), labels)


def for_labels(
    model: LikelihoodModel, function: Callable[[Tensor | None], Tensor], labels: Tensor | None
) -> Tensor:
    """Returns `function(labels)`, `(batch, K, ...)`, evaluated in parts to bound the memory.

    `labels` are `(batch, K)`, or `None` for an unconditional model.
    """
    at_once = images_at_once(model)
    if labels is None or labels.shape[1] <= at_once:
        return function(labels)
    candidates = labels.shape[1]
    steps = -(-candidates // at_once)
    labels = ops.take(labels, np.arange(steps * at_once) % candidates, axis=1)
    parts = ops.moveaxis(ops.reshape(labels, (-1, steps, at_once, *labels.shape[2:])), 1, 0)
    found = ops.moveaxis(in_turn(function, parts), 0, 1)
    return ops.reshape(found, (-1, steps * at_once, *found.shape[3:]))[:, :candidates]


def score(
    model: LikelihoodModel,
    images: np.ndarray,
    labels: np.ndarray | None,
    options: ScoringOptions,
    per: str = "image",
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Returns log-likelihoods of images, rows or pixels under their labels, float32, nats.

    `images` are uint8 `(N, height, width, channels)`, and `labels` int32 `(N, K)`, or `None` for
    an unconditional model, for which K is 1. The result is `(N, K)` for `per="image"`, `(N, K,
    height)` for `"row"`, and `(N, K, height, width)` for `"pixel"`. Optional `finish` replaces the
    result of each batch.
    """
    candidates = 1 if labels is None else labels.shape[1]
    if len(images) == 0:
        place = model.image_shape[: ("image", "row", "pixel").index(per)]
        return np.zeros((0, candidates, *place), "float32")
    inputs = images_and_labels(images, labels)

    def finished(result: np.ndarray, _: dict[str, np.ndarray]) -> np.ndarray:
        return result if finish is None else finish(result)

    how = options.batch_size, options.verbose
    return evaluated(model, SCORERS[per], inputs, *how, finished)


def images_and_labels(images: np.ndarray, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Returns the inputs of a function that is evaluated by `evaluated`."""
    return {"images": images} if labels is None else {"images": images, "labels": labels}


def evaluated(
    model: LikelihoodModel,
    function: Callable[[LikelihoodModel, Tensors], Tensor],
    inputs: dict[str, np.ndarray],
    batch_size: int,
    verbose: int | str = 0,
    finish: Callable[[np.ndarray, dict[str, np.ndarray]], np.ndarray] | None = None,
) -> np.ndarray:
    """Evaluates a function of a model and a dict of tensors in batches of bounded memory.

    The model keeps the compiled function. `inputs` are arrays with the same number of rows, and
    `batch_size` is the number of rows per batch, less for `"images"` with several `"labels"`, int32
    `(N, K)`. Optional `finish(result, inputs)` replaces the result of each batch, in NumPy.
    """
    candidates = inputs["labels"].shape[1] if "labels" in inputs else 1
    if "images" in inputs:
        batch_size = min(batch_size, max(1, images_at_once(model) // candidates))
    xla, count = bool(model.jit_compile), len(next(iter(inputs.values())))
    batches = array_batches(inputs, batch_size, pad=compiles_each_size(xla))
    step = model.compiled_functions.get(
        ("scorer", function, candidates, xla),
        lambda: compiled(partial(function, model), model.variables, batches[0], xla=xla),
    )

    def evaluate(batch: dict[str, np.ndarray]) -> Any:
        result = step(batch)
        return result if finish is None else finish(ops.convert_to_numpy(result), batch)

    return in_batches(evaluate, batches, verbose)[:count]


def _pixel_scores(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    function = partial(model.pixel_log_likelihood, inputs["images"])
    return for_labels(model, function, inputs.get("labels"))


def _row_scores(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    return ops.sum(_pixel_scores(model, inputs), axis=3)


def _image_scores(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    return ops.sum(_pixel_scores(model, inputs), axis=(2, 3))


SCORERS = {"image": _image_scores, "row": _row_scores, "pixel": _pixel_scores}


def score_observed(
    model: LikelihoodModel,
    images: np.ndarray,
    labels: np.ndarray | None,
    options: ScoringOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns log-likelihoods of parts of images, and those without one run each, nats.

    `labels` are `(N, K)`, or `None` for an unconditional model. `observed` of the options may be a
    sequence of M numbers of rows.

    Returns:
        Float32 array `(N, K)`, or `(N, M, K)` if `observed` is a sequence: the log of the mean of
        all runs. Float array `(R, N, K)` or `(R, N, M, K)` for `jackknife_error`: those of all runs
        except one, with R = `options.runs`; for exact likelihoods, R is 1.
    """
    observed = options.observed
    if observed is None:
        scores = score(model, images, labels, options)
    elif np.ndim(observed) < 2:
        rows = checked_rows(observed, model.image_shape[0])
        scores = _up_to_rows(rows, score(model, images, labels, options, "row"))
    else:
        known = checked_observed(observed, len(images), model.image_shape)
        if not is_prefix(known):
            return _estimates(model, images, labels, known, options)
        if known.ndim == 4:  # a single particle is exact, because no sampled pixel precedes
            one = replace(options, num_particles=1, standard_error=False)
            return _estimates(model, images, labels, known, one)
        by_pixel = score(model, images, labels, options, "pixel")
        scores = np.einsum("nkij,nij->nk", by_pixel, known, dtype="float64").astype("float32")
    return scores, scores[None]


def _estimates(
    model: LikelihoodModel,
    images: np.ndarray,
    labels: np.ndarray | None,
    known: np.ndarray,
    options: ScoringOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates the results of `score_observed` by sequential Monte Carlo."""
    candidates, runs = 1 if labels is None else labels.shape[1], options.runs
    rows = np.tile(np.arange(len(images)).repeat(candidates), runs)
    if labels is None:
        labels = len(rows)
    else:
        labels = np.concatenate([labels.reshape(-1, *labels.shape[2:])] * runs)
    given = options.of_particles, images[rows], known[rows], options.num_particles
    _, estimates = sample_images(model, labels, *given)
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
    labels: np.ndarray | Any,
    options: SamplingOptions,
    images: np.ndarray | None = None,
    known: np.ndarray | None = None,
    num_particles: int = 1,
    first: int | np.ndarray = 0,
) -> np.ndarray | Any:
    """Replaces labels -1 by random classes, sampled given the known pixels.

    The arguments are documented in `sample_images`; the seed of `options` is not `None`.
    """
    rows = () if np.ndim(labels) == 0 else model.conditions.unknown(labels)
    if not len(rows):
        return labels
    scores = np.zeros((len(rows), model.conditions.num_candidates))
    if images is not None:
        classes = model.conditions.candidates(len(rows))
        how = ScoringOptions(
            batch_size=options.batch_size,
            observed=known[rows],
            num_particles=num_particles,
            seed=options.seed,
        )
        scores, _ = score_observed(model, images[rows], classes, how)
    labels = labels.copy()
    positions = np.arange(len(labels)) + first
    labels[rows] = random_classes(scores, options.seed, positions[rows])
    return labels


def random_classes(scores: np.ndarray, seed: int, positions: np.ndarray) -> np.ndarray:
    """Samples a class of each image from the softmax of scores `(N, num_classes)`, int `(N,)`."""
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
