"""Discretized logistic mixture: log-probabilities and sampling, in `keras.ops`.

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

from collections.abc import Sequence
from typing import NamedTuple

from keras import ops

from keras_pixelcnnpp.backend import Tensor

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

    It is the formula of `log_probability_of_level` for wider bins, without logarithms.

    Args:
        means: Float tensor `(..., M)`.
        log_scales: Float tensor `(..., M)`.
        num_levels: Integer, number of levels.
        first: Tensor of integers `(..., 1)`, or 0: first level of the first interval.
        size: Integer, number of levels of an interval. The last one may exceed the levels.
        count: Integer, number of intervals.

    Returns:
        Tensor `(..., M, count)`; 0 for intervals beyond the last level.
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


def log_prob(
    parameters: Tensor, levels: Tensor, num_levels: int, temperature: Tensor | None = None
) -> Tensor:
    """Returns the log-probability of each pixel, summed over its channels.

    Args:
        parameters: Float tensor `(..., num_parameters)`.
        levels: Integer (or whole float) tensor `(..., channels)`.
        num_levels: Integer, number of levels.
        temperature: Positive tensor `(..., 1)`, which divides the logits and multiplies the scales;
            `None` for 1.

    Returns:
        Tensor `(...)`, nats.
    """
    channels = levels.shape[-1]
    mixture = split(parameters, channels, temperature)
    scaled = scale_to_unit(levels, num_levels, mixture.logits.dtype)
    values = [scaled[..., channel : channel + 1] for channel in range(channels)]
    of_component = 0.0
    for channel, value in enumerate(values):
        mean = mixture.mean_of(channel, values[:channel])
        log_scale = mixture.log_scales[channel]
        of_component = of_component + log_probability_of_level(value, mean, log_scale, num_levels)
    return ops.logsumexp(ops.log_softmax(mixture.logits, axis=-1) + of_component, axis=-1)


def sample(
    parameters: Tensor,
    noise: Tensor,
    channels: int,
    num_levels: int,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """Samples pixels: first a mixture component, then channel by channel.

    Each channel is rounded to a level before it shifts the next one, so samples follow exactly the
    distribution of `log_prob`.

    Args:
        parameters: Float tensor `(..., num_parameters)`.
        noise: Float tensor `(..., num_mixtures + channels)`, uniform in (0, 1).
        channels: Integer, number of channels.
        num_levels: Integer, number of levels.
        temperature: Positive number T or tensor `(..., 1)`; divides logits and multiplies scales.
            The result is not the mixture to the power 1/T.

    Returns:
        Float tensor `(..., channels)` of integers from 0 to `num_levels - 1`.
    """
    num_mixtures = noise.shape[-1] - channels
    gumbel = -ops.log(-ops.log(noise[..., :num_mixtures]))
    chosen = ops.argmax(parameters[..., :num_mixtures] / temperature + gumbel, axis=-1)
    mixture = split(_of_component(parameters, chosen, num_mixtures), channels)
    uniform = noise[..., num_mixtures:]
    logistic = (ops.log(uniform) - ops.log1p(-uniform)) * temperature
    levels, earlier = [], []
    for channel in range(channels):
        spread = ops.exp(mixture.log_scales[channel]) * logistic[..., channel : channel + 1]
        levels.append(round_to_level(mixture.mean_of(channel, earlier) + spread, num_levels))
        earlier.append(scale_to_unit(levels[-1], num_levels, levels[-1].dtype))
    return ops.concatenate(levels, axis=-1)


def level_log_probs(
    parameters: Tensor,
    earlier: Sequence[Tensor],
    channels: int,
    num_levels: int,
    temperature: Tensor | None = None,
    first: int | Tensor = 0,
    size: int = 1,
    count: int | None = None,
) -> Tensor:
    """Returns the log-probabilities of a sub-pixel's levels, given earlier sub-pixels of its pixel.

    The earlier sub-pixels shift the means and determine the posterior weights of the components.

    Args:
        parameters: Float tensor `(..., num_parameters)`.
        earlier: List of tensors `(..., 1)`, the levels of the earlier sub-pixels.
        channels: Integer, number of channels.
        num_levels: Integer, number of levels.
        temperature: Positive tensor `(..., 1)` that divides the logits and multiplies the scales.
        first: Tensor of integers `(..., 1)`, first level of the first interval.
        size: Integer, number of levels of an interval.
        count: Integer, number of intervals; `None` for each of all levels.

    Returns:
        Tensor `(..., count)`, nats, given that the level is in one of the intervals.
    """
    mixture = split(parameters, channels, temperature)
    log_weights = mixture.logits
    dtype = mixture.logits.dtype
    values = [scale_to_unit(levels, num_levels, dtype) for levels in earlier]
    for channel, value in enumerate(values):
        mean = mixture.mean_of(channel, values[:channel])
        log_scales = mixture.log_scales[channel]
        log_weights = log_weights + log_probability_of_level(value, mean, log_scales, num_levels)
    mean, log_scales = mixture.mean_of(len(values), values), mixture.log_scales[len(values)]
    weights = ops.exp(ops.log_softmax(log_weights, axis=-1))
    if count is None:
        probabilities = all_probabilities(weights, mean, log_scales, num_levels)
    else:
        how = num_levels, first, size, count
        per_component = interval_probabilities(mean, log_scales, *how)
        probabilities = ops.sum(weights[..., None] * per_component, axis=-2)
    probabilities = ops.maximum(probabilities, 1e-30)
    return ops.log(probabilities / ops.sum(probabilities, axis=-1, keepdims=True))


def _of_component(parameters: Tensor, chosen: Tensor, num_mixtures: int) -> Tensor:
    """Returns the parameters of one component, as a mixture with one component."""
    leading = [-1 if size is None else size for size in parameters.shape[:-1]]
    parts = ops.reshape(parameters, (*leading, parameters.shape[-1] // num_mixtures, num_mixtures))
    is_chosen = ops.expand_dims(chosen, (-2, -1)) == ops.arange(num_mixtures, dtype=chosen.dtype)
    return ops.sum(parts * ops.cast(is_chosen, parameters.dtype), axis=-1)
