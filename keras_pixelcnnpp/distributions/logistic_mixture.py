"""The mathematics of the discretized logistic mixture, in `keras.ops`.

Shapes: `(..., channels)` for pixels, `(..., num_parameters)` for parameters, any number of
leading axes that broadcast against each other. Pixels are levels, integers from 0 to
`num_levels - 1`; inside, they are scaled to [-1, 1]. Parameters are float32 or wider.

The last axis of the parameters holds, in this order, for `M` mixture components and `C` channels:

| what | size | meaning |
|---|---|---|
| logits | M | logarithm of the component's weight, up to a constant |
| means | C × M | mean of each channel before the shift by earlier channels |
| log-scales | C × M | floored at −7 |
| coefficients | C(C−1)/2 × M | before the tanh; pairs (1,0), (2,0), (2,1), … |

Reference: Salimans et al. 2017, PixelCNN++, section 2.1 and 2.2.
"""

from collections.abc import Sequence
from typing import NamedTuple

from keras import ops

from keras_pixelcnnpp.backend import Tensor

MIN_LOG_SCALE = -7.0


class LogisticMixture(NamedTuple):
    """The parameters of a mixture, taken apart.

    `logits` is a tensor `(..., M)`; `means` and `log_scales` are lists of C of them, one for each
    channel; `coefficients` is a list of C(C-1)/2, already through the tanh.
    """

    logits: Tensor
    means: list[Tensor]
    log_scales: list[Tensor]
    coefficients: list[Tensor]

    def mean_of(self, channel: int, earlier: Sequence[Tensor]) -> Tensor:
        """Mean `(..., M)` of a channel, shifted linearly by the scaled values of those before."""
        mean = self.means[channel]
        first = channel * (channel - 1) // 2
        for index, value in enumerate(earlier):
            mean = mean + self.coefficients[first + index] * value
        return mean


def num_parameters(num_mixtures: int, channels: int) -> int:
    """Number of parameters of one pixel."""
    return num_mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


def split(parameters: Tensor, channels: int, temperature: Tensor | None = None) -> LogisticMixture:
    """Takes the last axis of `parameters` apart into a `LogisticMixture`, of a temperature."""
    parts = num_parameters(1, channels)
    if parameters.shape[-1] % parts:
        raise ValueError(
            "Invalid shape of `parameters`. Expected a last axis that is a multiple of "
            f"{parts} for channels={channels}. "
            f"Received: parameters.shape={tuple(parameters.shape)}"
        )

    # One split: the gradient of a slice is as large as what it was cut from.
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
    """Maps levels 0 … num_levels − 1 to [−1, 1]."""
    return ops.cast(levels, dtype) * (2.0 / (num_levels - 1)) - 1.0


def round_to_level(values: Tensor, num_levels: int) -> Tensor:
    """Maps values of [−1, 1], or beyond, to the nearest level, as a float."""
    levels = ops.round((values + 1.0) * ((num_levels - 1) / 2.0))
    return ops.clip(levels, 0.0, num_levels - 1.0)


def log_probability_of_level(
    values: Tensor, means: Tensor, log_scales: Tensor, num_levels: int
) -> Tensor:
    """Logarithm of the probability that a logistic variable falls into the bin of `values`.

    With half a bin `h`, `b = (x + h - mean) / s` and `a = (x - h - mean) / s`,

        log P = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(-2 h / s))

    exactly, and the outer bins reach to infinity. No term cancels, so nothing is approximated
    where the probability is small. Values are scaled levels; shapes broadcast.
    """
    half = 1.0 / (num_levels - 1)
    inverse_scales = ops.exp(-log_scales)
    centered = values - means
    log_below = ops.log_sigmoid((centered + half) * inverse_scales)
    log_above = ops.log_sigmoid((half - centered) * inverse_scales)
    # Below 1e-30 the bin is infinitely thin to float32; the floor keeps its gradient finite.
    width = ops.maximum(2.0 * half * inverse_scales, 1e-30)
    log_inner = log_below + log_above + ops.log(-ops.expm1(-width))
    at_lowest = values < -1.0 + half
    at_highest = values > 1.0 - half
    return ops.where(at_lowest, log_below, ops.where(at_highest, log_above, log_inner))


def interval_probabilities(
    means: Tensor, log_scales: Tensor, num_levels: int, first: int | Tensor, size: int, count: int
) -> Tensor:
    """Probabilities of `count` intervals of `size` levels, from level `first` on.

    The formula of `log_probability_of_level`, of wider bins, without logarithms.

    Args:
        means: Float tensor `(..., M)`.
        log_scales: Float tensor `(..., M)`.
        num_levels: Integer, number of levels.
        first: Tensor of whole numbers `(..., 1)`, or 0.
        size: Integer. The last interval may reach beyond the levels.
        count: Integer.

    Returns:
        Tensor `(..., M, count)`; 0 for intervals beyond the levels.
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


def component_log_probabilities(
    mixture: LogisticMixture, levels: Tensor, num_levels: int
) -> Tensor:
    """Log-probability of each pixel under each component: `(..., M)`, nats."""
    channels = levels.shape[-1]
    values = scale_to_unit(levels, num_levels, mixture.logits.dtype)
    total = 0.0
    for channel in range(channels):
        earlier = [values[..., index : index + 1] for index in range(channel)]
        total = total + log_probability_of_level(
            values[..., channel : channel + 1],
            mixture.mean_of(channel, earlier),
            mixture.log_scales[channel],
            num_levels,
        )
    return total


def log_prob(
    parameters: Tensor, levels: Tensor, num_levels: int, temperature: Tensor | None = None
) -> Tensor:
    """Log-probability of each pixel, all its channels together.

    Args:
        parameters: Float tensor `(..., num_parameters)`.
        levels: Integer (or whole float) tensor `(..., channels)`.
        num_levels: Integer, number of levels.
        temperature: Tensor `(..., 1)`, as in `sample`, or `None` for 1.

    Returns:
        Tensor `(...)`, nats.
    """
    mixture = split(parameters, levels.shape[-1], temperature)
    log_weights = ops.log_softmax(mixture.logits, axis=-1)
    return ops.logsumexp(
        log_weights + component_log_probabilities(mixture, levels, num_levels), axis=-1
    )


def sample(
    parameters: Tensor,
    noise: Tensor,
    channels: int,
    num_levels: int,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """Samples pixels: the component first, then channel by channel.

    Each sub-pixel is rounded to its level before the next one sees it, so that a sample follows
    exactly the distribution that `log_prob` describes.

    Args:
        parameters: Float tensor `(..., num_parameters)`.
        noise: Uniform float tensor `(..., num_mixtures + channels)` in (0, 1).
        channels: Integer.
        num_levels: Integer, number of levels.
        temperature: Positive scalar: divides the logits and multiplies the scales.

    Returns:
        Float tensor `(..., channels)` of whole levels.
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
    """Log-probability of every level of one sub-pixel, given the earlier ones of its pixel.

    The earlier sub-pixels shift the means, and say which components are likely.

    Args:
        parameters: Float tensor `(..., num_parameters)`.
        earlier: List of tensors `(..., 1)`, the whole levels of the sub-pixels before.
        channels: Integer.
        num_levels: Integer, number of levels.
        temperature: Tensor `(..., 1)`, as in `sample`, or `None` for 1.
        first: Tensor of whole numbers `(..., 1)`: with `count`, where to begin.
        size: Integer: with `count`, how many levels are taken together.
        count: Integer, how many levels (or intervals of them) there are; `None` for all levels.

    Returns:
        Tensor `(..., count)`, nats, given that the level is one of them.
    """
    mixture = split(parameters, channels, temperature)
    log_weights = mixture.logits
    dtype = mixture.logits.dtype
    values = [scale_to_unit(levels, num_levels, dtype) for levels in earlier]
    for channel, value in enumerate(values):
        mean = mixture.mean_of(channel, values[:channel])
        log_scales = mixture.log_scales[channel]
        log_weights = log_weights + log_probability_of_level(value, mean, log_scales, num_levels)
    per_component = interval_probabilities(
        mixture.mean_of(len(values), values),
        mixture.log_scales[len(values)],
        num_levels,
        first,
        size,
        count or num_levels,
    )
    weights = ops.exp(ops.expand_dims(ops.log_softmax(log_weights, axis=-1), -1))
    probabilities = ops.maximum(ops.sum(weights * per_component, axis=-2), 1e-30)
    return ops.log(probabilities / ops.sum(probabilities, axis=-1, keepdims=True))


def _of_component(parameters: Tensor, chosen: Tensor, num_mixtures: int) -> Tensor:
    """The parameters of one component, those of a mixture of one."""
    leading = [-1 if size is None else size for size in parameters.shape[:-1]]
    parts = ops.reshape(parameters, (*leading, parameters.shape[-1] // num_mixtures, num_mixtures))
    is_chosen = ops.expand_dims(chosen, (-2, -1)) == ops.arange(num_mixtures, dtype=chosen.dtype)
    return ops.sum(parts * ops.cast(is_chosen, parameters.dtype), axis=-1)
