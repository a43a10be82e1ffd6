"""Methods that score arrays of images: likelihoods, posteriors, and maps of pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_pixelcnnpp.conditions.classes import class_of, groups, with_classes
from keras_pixelcnnpp.conditions.values import as_candidates
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.grid_posterior import (
    GridPosterior,
    posterior_on_grid,
    scores_of_vectors,
    vectors_of,
)
from keras_pixelcnnpp.models.scoring import (
    evaluated,
    jackknife_error,
    log_marginal_of_pixels,
    log_means,
    score,
    score_observed,
)
from keras_pixelcnnpp.models.statistics import (
    PixelStatistics,
    parameters_of,
    statistics_of_batch,
    with_pit,
)
from keras_pixelcnnpp.models.trainable import TrainableModel
from keras_pixelcnnpp.sampling.options import ScoringOptions
from keras_pixelcnnpp.utils.backend import Nest
from keras_pixelcnnpp.utils.checks import checked_observed
from keras_pixelcnnpp.utils.errors import UserError


class ScoringModel(TrainableModel):
    """Base class of models that score arrays of images."""

    def log_prob(
        self,
        images: np.ndarray,
        condition: Any = None,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
    ) -> np.ndarray:
        """Returns the log-likelihood log p(x | y) of each image, or of a part, given its condition.

        Several vectors for each image are `(N, K, size)`, and several maps `(N, K, …)`.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            condition: What the model is conditioned on, one value for each image, or one for all:
                labels, int `(N,)` or class names; vectors, float `(N, size)`; maps `(N, height,
                width, channels)`; or a tuple of these in the order of the parts, or a dict by their
                names. The label -1, or no label, stands for the mean of p(x | y) over equally
                likely classes. `None` for an unconditional model.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            observed: The known part of each image, whose other pixels are ignored: an integer, the
                number of known rows from the top, or a mask of booleans, or of 0 and 1, `(height,
                width)` or `(N, height, width)`, true for known pixels, or `(N, height, width,
                channels)`, true for known channels of a pixel. `None` for whole images.
            num_particles: Integer, number of particles for each image and class, where an unknown
                pixel precedes a known one in raster order.
            seed: Integer >= 0, the random seed of the particles.

        Returns:
            Float32 array `(N,)`, nats; `(N, K)` for several vectors.
        """
        options = ScoringOptions(
            batch_size=batch_size,
            verbose=verbose,
            observed=observed,
            num_particles=num_particles,
            seed=seed,
        )
        images = self.checked_images(images)
        values = self.condition_values(condition, len(images), several=True)
        found = log_means(self, images, values, options)
        return found if self.conditions.have_candidates(values) else found[:, 0]

    def pixel_log_probs(
        self,
        images: np.ndarray,
        condition: Any = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns the log-probability log p(x_i | x_<i, y) of each pixel given those before it.

        The result is a map of each image that shows where the image is improbable. A pixel has all
        its channels together, and the pixels before it are those above it and on its left. The sum
        over an image is its `log_prob`.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            condition: What the model is conditioned on, one value for each image, or one for all:
                labels, int `(N,)` or class names; vectors, float `(N, size)`; maps `(N, height,
                width, channels)`; or a tuple of these in the order of the parts, or a dict by their
                names. The label -1, or no label, stands for the mean of p(x | y) over equally
                likely classes. `None` for an unconditional model.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            Float32 array `(N, height, width)`, nats.
        """
        options = ScoringOptions(batch_size=batch_size, verbose=verbose)
        images = self.checked_images(images)
        values = self.condition_values(condition, len(images))
        result = np.zeros(images.shape[:3], "float32")
        for rows, candidates in groups(as_candidates(values), self.num_classes):
            given = images[rows], candidates, options, "pixel"
            result[rows] = score(self, *given, finish=log_marginal_of_pixels)
        return result

    def pixel_statistics(
        self,
        images: np.ndarray,
        condition: Any = None,
        seed: int = 0,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> PixelStatistics:
        """Returns how probable each sub-pixel is, and how probable the model expects it to be.

        One pass computes the conditional distribution of each sub-pixel given the earlier pixels
        and the earlier channels of its pixel: the log-probability of its value, the entropy and the
        variance of -log p under the distribution, and the probability integral transform. They tell
        whether an image is surprising, or only noisy. Without labels, the distribution is that of
        p(x).

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            condition: What the model is conditioned on, one value for each image, or one for all:
                labels, int `(N,)` or class names; vectors, float `(N, size)`; maps `(N, height,
                width, channels)`; or a tuple of these in the order of the parts, or a dict by their
                names. The label -1, or no label, stands for the mean of p(x | y) over equally
                likely classes. `None` for an unconditional model.
            seed: Integer >= 0, random seed of the probability integral transform. Its random
                numbers depend on the seed and the values of each image, not on its position.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            `PixelStatistics`: a named tuple of float32 arrays `(N, height, width, channels)`.

        Example:

        ```python
        found = model.pixel_statistics(images)
        found.log_prob.sum(axis=(1, 2, 3))          # log_prob(images, -1)
        found.excess_surprisal                      # mean 0 for samples of the model
        ```

        Reference:
            Dawid 1984, Statistical Theory: The Prequential Approach.
        """
        options = ScoringOptions(batch_size=batch_size, verbose=verbose, seed=seed)
        images = self.checked_images(images)
        values = self.condition_values(condition, len(images))
        found, finish = np.zeros((*images.shape, 4), "float32"), partial(statistics_of_batch, self)
        how = options.batch_size, options.verbose, finish
        for rows, candidates in groups(as_candidates(values), self.num_classes):
            inputs = {"images": images[rows], "values": candidates}
            found[rows] = evaluated(self, parameters_of, inputs, *how)
        return with_pit(found, images, seed)

    def class_log_likelihoods(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
        standard_error: bool = False,
        condition: Any = None,
    ) -> Any:
        """Returns the log-likelihood log p(x | y) of images, or of parts of them, for each class.

        If an unknown pixel precedes a known pixel in raster order, the likelihood is estimated by
        sequential Monte Carlo: `num_particles` images are sampled for each image and class,
        weighted by the probability of each known pixel, and resampled after a row if the effective
        sample size is small. The estimate of p, though not of log p, is unbiased. A warning is
        issued if all particles of an image descend from one. In all other cases, the likelihood is
        exact. `observed` may also be a sequence of M numbers of rows, which are evaluated in one
        pass.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            observed: The known part of each image, whose other pixels are ignored: an integer, the
                number of known rows from the top, or a mask of booleans, or of 0 and 1, `(height,
                width)` or `(N, height, width)`, true for known pixels, or `(N, height, width,
                channels)`, true for known channels of a pixel. `None` for whole images.
            num_particles: Integer, number of particles for each image and class, where an unknown
                pixel precedes a known one in raster order.
            seed: Integer >= 0, the random seed of the particles.
            standard_error: Boolean, whether to return a pair of arrays: the results, from the mean
                of 8 independent estimates of p, and their standard errors, by the jackknife. An
                error divided by its standard error follows a t distribution with 7 degrees of
                freedom, if the standard error is well below 1 nat; with one of 2 to 9 nats, a fifth
                of the errors exceed its 95% interval. Exact results have the standard error 0.
                Estimates take 8 times as long.
            condition: What else the model is conditioned on: vectors or maps, one for each image,
                or one for all; if there are both, a tuple in the order of the parts, with `None`
                for the label, or a dict by the names of the parts. `None` for a model of labels
                alone.

        Returns:
            Float32 array `(N, num_classes)`, nats; `(N, M, num_classes)` for a sequence.

        Reference:
            Doucet & Johansen 2011, A Tutorial on Particle Filtering and Smoothing.
        """
        options = ScoringOptions(
            batch_size=batch_size,
            verbose=verbose,
            observed=observed,
            num_particles=num_particles,
            seed=seed,
            standard_error=standard_error,
        )
        return self._of_classes(np.asarray, images, condition, options)

    def class_probabilities(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
        standard_error: bool = False,
        condition: Any = None,
    ) -> Any:
        """Returns the posterior p(y | x), as `predict`, given whole images or parts of them.

        Logit scale and class biases are learned from whole images, so the posterior given a part
        may be poorly calibrated. If nothing is known, it is the softmax of the class biases.
        `observed` may also be a sequence of M numbers of rows, which are evaluated in one pass.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            observed: The known part of each image, whose other pixels are ignored: an integer, the
                number of known rows from the top, or a mask of booleans, or of 0 and 1, `(height,
                width)` or `(N, height, width)`, true for known pixels, or `(N, height, width,
                channels)`, true for known channels of a pixel. `None` for whole images.
            num_particles: Integer, number of particles for each image and class, where an unknown
                pixel precedes a known one in raster order.
            seed: Integer >= 0, the random seed of the particles.
            standard_error: Boolean, whether to return a pair of arrays: the results, from the mean
                of 8 independent estimates of p, and their standard errors, by the jackknife. An
                error divided by its standard error follows a t distribution with 7 degrees of
                freedom, if the standard error is well below 1 nat; with one of 2 to 9 nats, a fifth
                of the errors exceed its 95% interval. Exact results have the standard error 0.
                Estimates take 8 times as long.
            condition: What else the model is conditioned on: vectors or maps, one for each image,
                or one for all; if there are both, a tuple in the order of the parts, with `None`
                for the label, or a dict by the names of the parts. `None` for a model of labels
                alone.

        Returns:
            Float32 array `(N, num_classes)`; `(N, M, num_classes)` for a sequence.

        Example:

        ```python
        model.class_probabilities(images, observed=8)                     # given the first 8 rows
        model.class_probabilities(images, observed=range(height + 1))     # given 0, 1, … rows
        model.class_probabilities(images, observed=mask)                  # given any pixels
        ```
        """
        options = ScoringOptions(
            batch_size=batch_size,
            verbose=verbose,
            observed=observed,
            num_particles=num_particles,
            seed=seed,
            standard_error=standard_error,
        )

        def probabilities(scores: np.ndarray) -> np.ndarray:
            return self.posterior.probabilities(scores).astype("float32")

        return self._of_classes(probabilities, images, condition, options)

    def bits_per_dim(
        self,
        images: np.ndarray,
        condition: Any = None,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
        standard_error: bool = False,
    ) -> Any:
        """Returns bits per dimension of p(x), or of p(x | y) given the condition of each image.

        The bits of known sub-pixels are divided by their number.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            condition: What the model is conditioned on, one value for each image, or one for all:
                labels, int `(N,)` or class names; vectors, float `(N, size)`; maps `(N, height,
                width, channels)`; or a tuple of these in the order of the parts, or a dict by their
                names. The label -1, or no label, stands for the mean of p(x | y) over equally
                likely classes. `None` for an unconditional model.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            observed: The known part of each image, whose other pixels are ignored: an integer, the
                number of known rows from the top, or a mask of booleans, or of 0 and 1, `(height,
                width)` or `(N, height, width)`, true for known pixels, or `(N, height, width,
                channels)`, true for known channels of a pixel. `None` for whole images.
            num_particles: Integer, number of particles for each image and class, where an unknown
                pixel precedes a known one in raster order.
            seed: Integer >= 0, the random seed of the particles.
            standard_error: Boolean, whether to return a pair of arrays: the results, from the mean
                of 8 independent estimates of p, and their standard errors, by the jackknife. An
                error divided by its standard error follows a t distribution with 7 degrees of
                freedom, if the standard error is well below 1 nat; with one of 2 to 9 nats, a fifth
                of the errors exceed its 95% interval. Exact results have the standard error 0.
                Estimates take 8 times as long.

        Returns:
            Float64 array `(N,)`, bits/dim.

        Raises:
            UserError: If no pixel of an image is known.
        """
        options = ScoringOptions(
            batch_size=batch_size,
            verbose=verbose,
            observed=observed,
            num_particles=num_particles,
            seed=seed,
            standard_error=standard_error,
        )
        images = self.checked_images(images)
        share = 1.0
        if observed is not None:
            known = checked_observed(observed, len(images), self.image_shape)
            share = known.reshape(len(images), known[0].size if len(known) else 1).mean(axis=1)
            if (count := np.sum(share == 0)) > 0:
                received = f"{count:,} of {len(images):,} images without any"
                raise UserError(
                    "Invalid value for argument `observed`. Bits are divided by the number of "
                    f"known sub-pixels. Expected known pixels in each image. Received: {received}"
                )

        def statistic(scores: np.ndarray) -> np.ndarray:
            return bits_per_dim(log_marginal(scores), self.image_shape) / share

        values = self.condition_values(condition, len(images))
        candidates, classes = as_candidates(values), class_of(values)[:, None]
        if (classes < 0).any():  # the mean of equal values is the value
            classes = np.where(classes < 0, self.conditions.all_classes, classes)
            candidates = with_classes(values, classes)
        return self._of_observed(statistic, images, candidates, options)

    def _of_classes(
        self,
        statistic: Callable[[np.ndarray], np.ndarray],
        images: np.ndarray,
        condition: Any,
        options: ScoringOptions,
    ) -> Any:
        """Returns a statistic of the log-likelihoods of all classes, given the other parts."""
        self.conditions.require_classes()
        images = self.checked_images(images)
        values = self.condition_values(condition, len(images))
        candidates = with_classes(values, self.conditions.all_classes)
        return self._of_observed(statistic, images, candidates, options)

    def _of_observed(
        self,
        statistic: Callable[[np.ndarray], np.ndarray],
        images: np.ndarray,
        candidates: Nest,
        options: ScoringOptions,
    ) -> Any:
        """Returns a statistic of log-likelihoods `(..., K)`, and its standard error.

        `candidates` are values `(N, K, ...)`.
        """
        scores, without = score_observed(self, images, candidates, options)
        result = statistic(scores)
        if not options.standard_error:
            return result
        return result, jackknife_error(statistic(without)).astype(result.dtype)

    def grid_posterior(
        self,
        images: np.ndarray,
        grid: Any,
        log_prior: ArrayLike | None = None,
        observed: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
        num_particles: int = 64,
        seed: int = 0,
        condition: Any = None,
    ) -> GridPosterior:
        """Returns the posterior of the vector h of each image, or group of images, on a grid.

        It is Bayes' rule with the model's likelihood, p(h | x) ∝ p(h) p(x | h). Images of one group
        share h, so that their log-likelihoods add up. The method is known as neural likelihood
        estimation.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            grid: Values of each component, of which all combinations are the grid: a dict from
                names to arrays, or a sequence of `size` arrays. Or the vectors themselves, float
                array `(K, size)`, or `(K,)` for one component.
            log_prior: Optional array `(K,)`, log-density of each vector before an image is seen,
                nats, up to a constant. By default, the prior is uniform in h: a vector of a grid
                that is not evenly spaced has the prior probability of its cell.
            observed: The known part of each image, whose other pixels are ignored: an integer, the
                number of known rows from the top, or a mask of booleans, or of 0 and 1, `(height,
                width)` or `(N, height, width)`, true for known pixels, or `(N, height, width,
                channels)`, true for known channels of a pixel. `None` for whole images.
            groups: Optional array `(N,)`, integers or strings, the group of each image.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            num_particles: Integer, number of particles for each image and class, where an unknown
                pixel precedes a known one in raster order.
            seed: Integer >= 0, the random seed of the particles.
            condition: What else the model is conditioned on: a label or a map, or a tuple of both
                in the order of the parts, or a dict by their names, for each image or for all. The
                label -1, or `None`, stands for the mean over the classes. `None` for a model of
                `Vectors`.

        Returns:
            `GridPosterior` of N images, or of the groups in sorted order.

        Raises:
            UserError: If the model is not conditioned on `Vectors`, or arguments don't fit.

        Example:

        ```python
        found = model.grid_posterior(images, {"beta": np.linspace(0.2, 0.6, 41), "field": [0, 1]})
        found.mean, found.interval(0.9)         # (N, 2), (N, 2, 2)
        ```

        Reference:
            Papamakarios et al. 2019, Sequential Neural Likelihood,
            https://arxiv.org/abs/1805.07226
        """
        vectors_of(self.conditions)
        options = ScoringOptions(
            batch_size=batch_size,
            verbose=verbose,
            observed=observed,
            num_particles=num_particles,
            seed=seed,
        )
        images = self.checked_images(images)
        return posterior_on_grid(self, images, grid, log_prior, groups, options, condition)

    def score_function(
        self,
        images: np.ndarray,
        vectors: ArrayLike,
        observed: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns the gradient ∂ log p(x | h) / ∂h of each image, by automatic differentiation.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            vectors: Float array `(N, size)`, or one vector for all images.
            observed: Known pixels, which precede all others in raster order: an integer, the number
                of rows, or a boolean mask.
            groups: Optional array `(N,)`, integers or strings, the group of each image. The result
                has the sum over the images of each group, in sorted order.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            Float64 array `(N, size)`, nats per unit of each component.

        Raises:
            UserError: If the model is not conditioned on `Vectors`, or the vectors don't fit.
        """
        options = ScoringOptions(batch_size=batch_size, verbose=verbose)
        images = self.checked_images(images)
        return scores_of_vectors(self, images, vectors, observed, groups, options)

    def evidence_map(
        self,
        images: np.ndarray,
        condition: Any,
        against: Any,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns the evidence of each pixel for one class against another, as a map.

        It is the difference of two maps of `pixel_log_probs`, at each pixel i

            log p(x_i | x_<i, y) - log p(x_i | x_<i, y')

        The sum over an image is log p(x | y) - log p(x | y'). The posterior multiplies this
        difference by the logit scale, and adds the difference of the class biases.

        Args:
            images: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
                `num_levels` if these are more than 256, or codes below `num_levels` for a model
                with `ordered_levels=False`. Images of one channel need no channel axis.
            condition: The classes y: int array `(N,)`, class names, or one label for all images. -1
                stands for p(x). With other parts, a tuple or a dict.
            against: The classes y', in the same form.
            batch_size: Integer, number of images or particles per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            Float32 array `(N, height, width)`, nats. Positive values are evidence for y.

        Example:

        ```python
        evidence = model.evidence_map(images, labels, (labels + 1) % model.num_classes)
        evidence.sum(axis=(1, 2))      # log_prob(images, labels) - log_prob(images, …)
        ```
        """
        self.conditions.require_classes()
        evidence = self.pixel_log_probs(images, condition, batch_size, verbose)
        return evidence - self.pixel_log_probs(images, against, batch_size, verbose)
