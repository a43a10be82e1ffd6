"""Discretized logistic mixture, in `keras.ops`.

Reference: Salimans et al. 2017, PixelCNN++, section 2.1 and 2.2.
"""

from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_pixelcnnpp.distributions.counts import MixtureCounts
from keras_pixelcnnpp.distributions.levels import scale_to_unit
from keras_pixelcnnpp.distributions.mixture import MixtureHead
from keras_pixelcnnpp.utils.backend import Tensor


class LogisticMixtureHead(MixtureHead):
    """Mixture of discretized logistics. Earlier sub-pixels of a pixel shift the means linearly.

    Args:
        channels, num_levels: See `Head`.
        num_mixtures: Integer, number of logistic components.

    Example:

    >>> head = LogisticMixtureHead(channels=3, num_levels=256, num_mixtures=5)
    >>> head.log_prob(keras.ops.zeros((2, head.num_parameters)), keras.ops.zeros((2, 3))).shape
    (2,)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.1, https://arxiv.org/abs/1701.05517
    """

    def __init__(self, channels: int, num_levels: int, num_mixtures: int):
        super().__init__(channels, num_levels, num_mixtures, "logistic_mixture")

    def counts(self, tables: Sequence[np.ndarray]) -> MixtureCounts:
        return MixtureCounts(self.channels, self.num_levels)

    def quantile(self, uniform: Tensor) -> Tensor:
        return ops.log(uniform) - ops.log1p(-uniform)

    def log_probability(self, values: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """Returns the log-probability of levels under a discretized logistic distribution, in nats.

        For a bin of width 2 h, with `b = (x + h - mean) / s` and `a = (x - h - mean) / s`,

            log P = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(-2 h / s))

        The outer bins extend to infinity. The formula is exact and has no cancellation, so small
        probabilities need no approximation. `values` are levels scaled to [-1, 1]; shapes
        broadcast.
        """
        half = 1.0 / (self.num_levels - 1)
        inverse_scales = ops.exp(-log_scales)
        centered = values - means
        log_below = ops.log_sigmoid((centered + half) * inverse_scales)
        log_above = ops.log_sigmoid((half - centered) * inverse_scales)
        # The lower bound keeps the gradient finite in float32.
        width = ops.maximum(2.0 * half * inverse_scales, 1e-30)
        log_inner = log_below + log_above + ops.log(-ops.expm1(-width))
        at_lowest = values < -1.0 + half
        at_highest = values > 1.0 - half
        return ops.where(at_lowest, log_below, ops.where(at_highest, log_above, log_inner))

    def interval_probabilities(
        self, means: Tensor, log_scales: Tensor, first: int | Tensor, size: int, count: int
    ) -> Tensor:
        """Returns the probabilities of consecutive intervals of levels under components.

        It is the formula of `log_probability` for wider bins, without logarithms.
        """
        num_levels = self.num_levels
        lowest = ops.cast(first, means.dtype) + size * ops.arange(count, dtype=means.dtype)
        lowest = ops.expand_dims(lowest, -2)  # (..., 1, count)
        inverse_scales = ops.exp(-log_scales)[..., None]
        half = inverse_scales * (size / (num_levels - 1))
        centers = scale_to_unit(lowest + (size - 1) / 2, num_levels, means.dtype)
        centered = (centers - means[..., None]) * inverse_scales
        below = ops.sigmoid(half + centered)
        above = ops.sigmoid(half - centered)
        inner = -ops.expm1(-2.0 * half) * (below * above)
        upper = ops.where(lowest < num_levels, above, 0.0)
        inner = ops.where(lowest + size < num_levels, inner, upper)
        return ops.where(lowest < 1, below, inner)

    def level_probabilities(self, weights: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """Returns the probabilities `(..., num_levels)` of all levels under a mixture.

        It is the formula of `log_probability`, divided by its sigmoids. With `c = (x - mean) / s`
        and `k = h / s`, it has half of the operations:

            P = (1 - exp(-2k)) / (1 + exp(-2k) + exp(c - k) + exp(-c - k))
        """
        num_levels, inverse_scales = self.num_levels, ops.exp(-log_scales)
        half = inverse_scales / (num_levels - 1)
        values = scale_to_unit(ops.arange(num_levels), num_levels, means.dtype)
        scaled = values * inverse_scales[..., None]
        to_mean = means * inverse_scales
        below = ops.exp((to_mean - half)[..., None] - scaled)
        above = ops.exp(scaled - (to_mean + half)[..., None])
        per_component = 1.0 / ((1.0 + ops.exp(-2.0 * half))[..., None] + (below + above))
        inner_weights = -weights * ops.expm1(-2.0 * half)
        inner = ops.matmul(inner_weights[..., None, :], per_component)[..., 0, 1:-1]
        lowest = ops.sum(weights / (1.0 + below[..., 0]), axis=-1, keepdims=True)
        highest = ops.sum(weights / (1.0 + above[..., -1]), axis=-1, keepdims=True)
        return ops.concatenate([lowest, inner, highest], axis=-1)
