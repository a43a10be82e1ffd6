"""Options of sampling and scoring, which many methods take as arguments."""

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from keras_pixelcnnpp.sampling.model import PixelModel
from keras_pixelcnnpp.utils.checks import require_integer, require_number, require_temperature
from keras_pixelcnnpp.utils.errors import invalid_argument


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Arguments of the methods that sample or complete images.

    Args:
        seed: Integer >= 0. Seed and position among the images determine an image, independent of
            the batch size. `None` gives different images in each call. (A SavedModel generates its
            random numbers in the graph, so the same seed gives different images there.)
        temperature: Number from 1e-6 to 1e6. Values below 1 give smoother and less diverse images.
            It divides the logits of each pixel's distribution (those of the mixture components or
            of the levels), and multiplies the scales of a mixture. The result is not the mixture to
            the power 1/T.
        guidance: Number w >= 0. Values above 0 give images that are more typical of their class and
            less diverse. Each sub-pixel is sampled with a probability proportional to
            p(l | y)^(1 + w) / q(l)^w. Here q is the mean of p(l | k) over all classes k, weighted
            by softmax(β r_k), and r_k is the log-likelihood of the earlier sub-pixels under class
            k. Guidance evaluates the network under all classes. Mixtures of more than 32 levels are
            guided in two steps, each with this law: l is first a range of about √L of the L levels,
            and then a level given its range, whose r_k includes the range.
        guidance_logit_scale: Number β >= 0, by default half of `logit_scale`. With 1, q is based on
            Bayes' rule, and soon hardly differs from p(l | y).
        batch_size: Integer, number of images or particles per batch.
        verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
    """

    seed: int | None = None
    temperature: float = 1.0
    guidance: float = 0.0
    guidance_logit_scale: float | None = None
    batch_size: int = 100
    verbose: int | str = "auto"

    def checked(self, model: PixelModel) -> Self:
        """Returns the options without `None`, or raises a `UserError` if one is out of range."""
        require_integer("batch_size", self.batch_size)
        require_temperature(self.temperature)
        if self.seed is not None:
            require_integer("seed", self.seed, low=0)
        require_number("guidance", self.guidance, "[0, inf)")
        if self.guidance_logit_scale is not None:
            require_number("guidance_logit_scale", self.guidance_logit_scale, "[0, inf)")
        if self.guidance and model.conditions.num_classes < 2:
            expected = f"0 for a model of {model.conditions.description}"
            raise invalid_argument("guidance", self.guidance, expected)
        seed, scale = self.seed, self.guidance_logit_scale
        if seed is None:
            # NumPy's global state, which `keras.utils.set_random_seed` sets.
            seed = np.random.randint(2**31)  # noqa: NPY002
        if scale is None and self.guidance:
            scale = model.logit_scale / 2
        return dataclasses.replace(self, seed=seed, guidance_logit_scale=scale)


# Number of independent estimates for a standard error.
ERROR_RUNS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoringOptions:
    """Arguments of the methods that score images.

    Args:
        batch_size: Integer, number of images or particles per batch.
        verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
        observed: The known part of each image, whose other pixels are ignored: an integer, the
            number of known rows from the top, or a mask of booleans, or of 0 and 1, `(height,
            width)` or `(N, height, width)`, true for known pixels, or `(N, height, width,
            channels)`, true for known channels of a pixel. `None` for whole images.
        num_particles: Integer, number of particles for each image and class, where an unknown pixel
            precedes a known one in raster order.
        seed: Integer >= 0, the random seed of the particles.
        standard_error: Boolean, whether to return a pair of arrays: the results, from the mean of 8
            independent estimates of p, and their standard errors, by the jackknife. An error
            divided by its standard error follows a t distribution with 7 degrees of freedom, if the
            standard error is well below 1 nat; with one of 2 to 9 nats, a fifth of the errors
            exceed its 95% interval. Exact results have the standard error 0. Estimates take 8
            times as long.

    Raises:
        ValueError: If an argument is out of range.
    """

    batch_size: int = 32
    verbose: int | str = 0
    observed: ArrayLike | None = None
    num_particles: int = 64
    seed: int = 0
    standard_error: bool = False

    def __post_init__(self) -> None:
        require_integer("batch_size", self.batch_size)
        require_integer("num_particles", self.num_particles)
        require_integer("seed", self.seed, low=0)

    @property
    def runs(self) -> int:
        """Number of independent estimates of a likelihood."""
        return ERROR_RUNS if self.standard_error else 1

    @property
    def of_particles(self) -> SamplingOptions:
        """The options with which particles are sampled."""
        return SamplingOptions(seed=self.seed, batch_size=self.batch_size, verbose=self.verbose)
