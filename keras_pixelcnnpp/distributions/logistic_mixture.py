"""Discretized logistic mixture: the formulas of `LogisticMixtureHead`, in `keras.ops`.

Pixels are `(..., channels)` and parameters `(..., num_parameters)`, with leading axes that
broadcast against each other. The channels of a pixel are levels, integers from 0 to
`num_levels - 1`, which are scaled to [-1, 1] for the computation. Parameters are float32 or wider.

For `M` mixture components and `C` channels, the last axis of the parameters contains in this order:

| part | size | meaning |
|---|---|---|
| logits | M | logarithms of the components' weights, up to a constant |
| means | C × M | mean of each channel, before the shift by earlier channels |
| log-scales | C × M | logarithm of each channel's scale; at least −7 is used |
| coefficients | C(C−1)/2 × M | shifts before the tanh, for the pairs (1,0), (2,0), (2,1), … |

Reference: Salimans et al. 2017, PixelCNN++, section 2.1 and 2.2.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from keras import ops

from keras_pixelcnnpp.utils.backend import Tensor

MIN_LOG_SCALE = -7.0


class LogisticMixture(NamedTuple):
    """Parameters of a mixture with M components and C channels, as tensors `(..., M)`.

    `means` and `log_scales` have one tensor for each channel. `coefficients` has C(C-1)/2 tensors,
    after the tanh.
    """

    logits: Tensor
    means: list[Tensor]
    log_scales: list[Tensor]
    coefficients: list[Tensor]

    def mean_of(self, channel: int, earlier: Sequence[Tensor]) -> Tensor:
        """Returns the mean `(..., M)` of a channel, given scaled values of earlier channels."""
        mean = self.means[channel]
        first = channel * (channel - 1) // 2
        for index, value in enumerate(earlier):
            mean = mean + self.coefficients[first + index] * value
        return mean

    def log_probs(self, values: Sequence[Tensor], num_levels: int) -> Iterator[Tensor]:
        """Yields the log-probability `(..., M)` of the first channels' scaled values, in order."""
        for channel, value in enumerate(values):
            mean = self.mean_of(channel, values[:channel])
            yield log_probability_of_level(value, mean, self.log_scales[channel], num_levels)


def num_parameters(num_mixtures: int, channels: int) -> int:
    """Returns the number of parameters of a pixel."""
    return num_mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


def split(parameters: Tensor, channels: int, temperature: Tensor | None = None) -> LogisticMixture:
    """Splits the last axis of `parameters`, and applies the temperature."""
    parts = num_parameters(1, channels)
    if parameters.shape[-1] % parts:
        raise ValueError(
            "Invalid shape of `parameters`. Expected a last axis that is a multiple of "
            f"{parts} for channels={channels}. "
            f"Received: parameters.shape={tuple(parameters.shape)}"
        )

    # A single split, because the gradient of each slice would have the size of `parameters`.
    logits, *rest = ops.split(parameters, parts, axis=-1)
    log_scales = [ops.maximum(part, MIN_LOG_SCALE) for part in rest[channels : 2 * channels]]
    if temperature is not None:
        logits = logits / temperature
        log_scales = [scale + ops.log(temperature) for scale in log_scales]
    return LogisticMixture(
        logits=logits,
        means=rest[:channels],
        log_scales=log_scales,
        coefficients=[ops.tanh(part) for part in rest[2 * channels :]],
    )


def scale_to_unit(levels: Tensor, num_levels: int, dtype: str = "float32") -> Tensor:
    """Scales levels from 0 to `num_levels - 1` linearly to [-1, 1]."""
    return ops.cast(levels, dtype) * (2.0 / (num_levels - 1)) - 1.0


def round_to_level(values: Tensor, num_levels: int) -> Tensor:
    """Converts values, scaled to [-1, 1], to the nearest level, as floats."""
    levels = ops.round((values + 1.0) * ((num_levels - 1) / 2.0))
    return ops.clip(levels, 0.0, num_levels - 1.0)


def log_probability_of_level(
    values: Tensor, means: Tensor, log_scales: Tensor, num_levels: int
) -> Tensor:
    """Returns the log-probability of levels under a discretized logistic distribution, in nats.

    For a bin of width 2 h, with `b = (x + h - mean) / s` and `a = (x - h - mean) / s`,

        log P = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(-2 h / s))

    The outer bins extend to infinity. The formula is exact and has no cancellation, so small
    probabilities need no approximation. `values` are levels scaled to [-1, 1]; shapes broadcast.
    """
    half = 1.0 / (num_levels - 1)
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
    means: Tensor, log_scales: Tensor, num_levels: int, first: int | Tensor, size: int, count: int
) -> Tensor:
    """Returns the probabilities of consecutive intervals of levels under discretized logistics.

    It is the formula of `log_probability_of_level` for wider bins, without logarithms. `means` and
    `log_scales` are `(..., M)`. `LogisticMixtureHead.level_log_probs` documents the intervals, of
    which the last one may exceed the levels. The result is `(..., M, count)`, 0 beyond them.
    """
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


def all_probabilities(
    weights: Tensor, means: Tensor, log_scales: Tensor, num_levels: int
) -> Tensor:
    """Returns the probabilities `(..., num_levels)` of all levels under a mixture.

    It is the formula of `log_probability_of_level`, divided by its sigmoids. With `c = (x - mean) /
    s` and `k = h / s`, it has half of the operations:

        P = (1 - exp(-2k)) / (1 + exp(-2k) + exp(c - k) + exp(-c - k))

    `weights`, `means` and `log_scales` are float tensors `(..., M)`.
    """
    inverse_scales = ops.exp(-log_scales)
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


def of_component(parameters: Tensor, chosen: Tensor, num_mixtures: int) -> Tensor:
    """Returns the parameters of one component, as a mixture with one component."""
    leading = [-1 if size is None else size for size in parameters.shape[:-1]]
    parts = ops.reshape(parameters, (*leading, parameters.shape[-1] // num_mixtures, num_mixtures))
    is_chosen = ops.expand_dims(chosen, (-2, -1)) == ops.arange(num_mixtures, dtype=chosen.dtype)
    return ops.sum(parts * ops.cast(is_chosen, parameters.dtype), axis=-1)
