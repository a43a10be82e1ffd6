"""Mixtures over the channels of a pixel, whose components have a mean and a scale.

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

from keras_pixelcnnpp.distributions.head import Head
from keras_pixelcnnpp.distributions.levels import round_to_level, scale_to_unit
from keras_pixelcnnpp.utils.backend import Tensor

MIN_LOG_SCALE = -7.0


class Mixture(NamedTuple):
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


def split(parameters: Tensor, channels: int, temperature: Tensor | None = None) -> Mixture:
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
    return Mixture(
        logits=logits,
        means=rest[:channels],
        log_scales=log_scales,
        coefficients=[ops.tanh(part) for part in rest[2 * channels :]],
    )


def of_component(parameters: Tensor, chosen: Tensor, num_mixtures: int) -> Tensor:
    """Returns the parameters of one component, as a mixture with one component."""
    leading = [-1 if size is None else size for size in parameters.shape[:-1]]
    parts = ops.reshape(parameters, (*leading, parameters.shape[-1] // num_mixtures, num_mixtures))
    is_chosen = ops.expand_dims(chosen, (-2, -1)) == ops.arange(num_mixtures, dtype=chosen.dtype)
    return ops.sum(parts * ops.cast(is_chosen, parameters.dtype), axis=-1)


class MixtureHead(Head):
    """Mixture over the channels of a pixel. Earlier sub-pixels of a pixel shift the means linearly.

    For C channels, it has `num_mixtures * (1 + 2 C + C (C - 1) / 2)` parameters. This number does
    not depend on the number of levels, and neighboring levels have similar probabilities.

    A subclass defines the distribution of a component, which has a mean and a scale: the
    log-probability of a level, the probabilities of intervals, and the quantile function.

    Args:
        channels, num_levels: See `Head`.
        num_mixtures: Integer, number of components.
        name: Name of the layer.
    """

    # Two digits take about 2 * sqrt(num_levels) instead of num_levels evaluations of each
    # component, which for 256 levels of ten classes take longer than the network.
    levels_at_once = 32
    uses_order = True

    def __init__(self, channels: int, num_levels: int, num_mixtures: int, name: str = "mixture"):
        size = num_parameters(num_mixtures, channels)
        super().__init__(channels, num_levels, size, num_mixtures + channels, name)
        self.num_mixtures = num_mixtures

    def log_probability(self, values: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """Returns the log-probability of levels under components, in nats.

        The outer bins extend to infinity. `values` are levels scaled to [-1, 1]; shapes broadcast.
        """
        raise NotImplementedError

    def interval_probabilities(
        self, means: Tensor, log_scales: Tensor, first: int | Tensor, size: int, count: int
    ) -> Tensor:
        """Returns the probabilities of consecutive intervals of levels under components.

        `means` and `log_scales` are `(..., M)`. `level_log_probs` documents the intervals, of which
        the last one may exceed the levels. The result is `(..., M, count)`, 0 beyond them.
        """
        raise NotImplementedError

    def quantile(self, uniform: Tensor) -> Tensor:
        """Returns the quantiles of a component with mean 0 and scale 1, for numbers in (0, 1)."""
        raise NotImplementedError

    def level_probabilities(self, weights: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """Returns the probabilities `(..., num_levels)` of all levels under a mixture.

        `weights`, `means` and `log_scales` are float tensors `(..., M)`.
        """
        each = self.interval_probabilities(means, log_scales, 0, 1, self.num_levels)
        return ops.sum(weights[..., None] * each, axis=-2)

    def log_prob(
        self, parameters: Tensor, levels: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Returns the log-probability of pixels, summed over channels: `(...)`, nats.

        The temperature divides the logits and multiplies the scales.
        """
        mixture = split(parameters, self.channels, temperature)
        scaled = scale_to_unit(levels, self.num_levels, mixture.logits.dtype)
        values = [scaled[..., channel : channel + 1] for channel in range(self.channels)]
        of_component = 0.0
        for channel, value in enumerate(values):
            mean, log_scales = mixture.mean_of(channel, values[:channel]), mixture.log_scales
            of_component = of_component + self.log_probability(value, mean, log_scales[channel])
        return ops.logsumexp(ops.log_softmax(mixture.logits, axis=-1) + of_component, axis=-1)

    def sample(
        self, parameters: Tensor, noise: Tensor, temperature: float | Tensor = 1.0
    ) -> Tensor:
        """Samples pixels `(..., channels)`, whole floats: a component, then channel by channel.

        Each channel is rounded to a level before it shifts the next one, so samples follow exactly
        the distribution of `log_prob`. The temperature T divides the logits and multiplies the
        scales; the result is not the mixture to the power 1/T.
        """
        count = self.num_mixtures
        gumbel = -ops.log(-ops.log(noise[..., :count]))
        chosen = ops.argmax(parameters[..., :count] / temperature + gumbel, axis=-1)
        mixture = split(of_component(parameters, chosen, count), self.channels)
        deviations = self.quantile(noise[..., count:]) * temperature
        levels, earlier = [], []
        for channel in range(self.channels):
            spread = ops.exp(mixture.log_scales[channel]) * deviations[..., channel : channel + 1]
            value = mixture.mean_of(channel, earlier) + spread
            levels.append(round_to_level(value, self.num_levels))
            earlier.append(scale_to_unit(levels[-1], self.num_levels, levels[-1].dtype))
        return ops.concatenate(levels, axis=-1)

    def level_log_probs(
        self,
        parameters: Tensor,
        earlier: Sequence[Tensor],
        temperature: Tensor | None = None,
        first: int | Tensor = 0,
        size: int = 1,
        count: int | None = None,
    ) -> Tensor:
        """Returns the log-probabilities of a sub-pixel's levels, or of intervals of levels.

        Earlier sub-pixels shift the means and determine the posterior weights of the components.

        Args:
            parameters: Float tensor `(..., num_parameters)`.
            earlier: List of tensors `(..., 1)`, the levels of the earlier sub-pixels.
            temperature: Positive tensor `(..., 1)`, as in `log_prob`; `None` for 1.
            first: Tensor of integers `(..., 1)`, first level of the first interval.
            size: Integer, number of levels of an interval.
            count: Integer, number of intervals; `None` for each of all levels.

        Returns:
            Tensor `(..., count)`, nats, given that the level is in one of the intervals.
        """
        mixture = split(parameters, self.channels, temperature)
        log_weights, log_scales = mixture.logits, mixture.log_scales
        values = [scale_to_unit(levels, self.num_levels, log_weights.dtype) for levels in earlier]
        for channel, value in enumerate(values):
            mean = mixture.mean_of(channel, values[:channel])
            log_weights = log_weights + self.log_probability(value, mean, log_scales[channel])
        component = mixture.mean_of(len(earlier), values), log_scales[len(earlier)]
        weights = ops.exp(ops.log_softmax(log_weights, axis=-1))
        if count is None:
            probabilities = self.level_probabilities(weights, *component)
        else:
            each = self.interval_probabilities(*component, first, size, count)
            probabilities = ops.sum(weights[..., None] * each, axis=-2)
        probabilities = ops.maximum(probabilities, 1e-30)
        return ops.log(probabilities / ops.sum(probabilities, axis=-1, keepdims=True))
