"""Distributions of a pixel, whose parameters are the outputs of a network: the heads.

A head is a subclass of `Head` with three methods:

| method | result |
|---|---|
| `log_prob(parameters, levels, temperature)` | log-probabilities of pixels, nats |
| `sample(parameters, noise, temperature)` | sampled pixels, as levels |
| `level_log_probs(parameters, earlier, temperature)` | log-probabilities of a sub-pixel's levels |

Guidance and `verify` use the last method. With more than `levels_at_once` levels, guidance passes
three more arguments, `first`, `size` and `count`, to get the probabilities of ranges of levels.
Parameters are float32 `(..., num_parameters)`. Levels are `(..., channels)`, and their leading axes
broadcast to those of the parameters. The temperature is a tensor `(..., 1)`, or for a temperature
of 1, `None` (in `sample`, the number 1.0).
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.distributions.counts import CategoricalCounts, Counts, MixtureCounts
from keras_pixelcnnpp.distributions.logistic_mixture import scale_to_unit
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import MAX_LEVELS
from keras_pixelcnnpp.utils.errors import UserError


class Head(keras.layers.Layer):
    """Base class of the heads. It is a layer because a head may have weights, and uses float32.

    Args:
        channels: Integer, number of sub-pixels of a pixel.
        num_levels: Integer, number of values of a sub-pixel.
        num_parameters: Integer, number of outputs of the network for each pixel.
        noise_size: Integer, number of uniform random numbers that sampling a pixel needs.
        name: Name of the layer.

    Attributes:
        max_levels: Integer, the largest number of levels that the head allows.
        levels_at_once: Number of levels that guidance samples at once. More levels are sampled as
            two digits.
        uses_order: Boolean, whether neighboring levels have similar probabilities, so that the head
            does not suit codes.
        needs_groups: Boolean, whether masked networks compute the parameters of a sub-pixel from
            the earlier ones of its pixel, in channel groups.
    """

    max_levels = MAX_LEVELS
    levels_at_once = math.inf
    uses_order = False
    needs_groups = False

    def __init__(
        self, channels: int, num_levels: int, num_parameters: int, noise_size: int, name: str
    ):
        super().__init__(name=name, dtype="float32")
        self.channels = channels
        self.num_levels = num_levels
        self.num_parameters = num_parameters
        self.noise_size = noise_size
        self.built = True

    def counts(self, tables: Sequence[np.ndarray]) -> Counts:
        """Returns the distribution of a pixel in integers, for the codec.

        Args:
            tables: Arrays, the weights of the head, rounded to multiples of 1/4096.

        Raises:
            UserError: If the head has no exact distribution.
        """
        raise UserError(
            "Compression needs a model that can be computed exactly. Expected a head with a method "
            f"`counts`. Received: {type(self).__name__}"
        )


class LogisticMixtureHead(Head):
    """Mixture of discretized logistics. Earlier sub-pixels of a pixel shift the means linearly.

    For C channels, it has `num_mixtures * (1 + 2 C + C (C - 1) / 2)` parameters. This number does
    not depend on the number of levels, and neighboring levels have similar probabilities.

    Args:
        channels, num_levels: See `Head`.
        num_mixtures: Integer, number of logistic components.
        tables: Ignored.

    Example:

    >>> head = LogisticMixtureHead(channels=3, num_levels=256, num_mixtures=5)
    >>> head.log_prob(keras.ops.zeros((2, head.num_parameters)), keras.ops.zeros((2, 3))).shape
    (2,)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.1, https://arxiv.org/abs/1701.05517
    """

    # Two digits take about 2 * sqrt(num_levels) instead of num_levels evaluations of each
    # component, which for 256 levels of ten classes take longer than the network.
    levels_at_once = 32
    uses_order = True

    def __init__(self, channels: int, num_levels: int, num_mixtures: int, tables: bool = False):
        num_parameters = logistic_mixture.num_parameters(num_mixtures, channels)
        noise_size = num_mixtures + channels
        super().__init__(channels, num_levels, num_parameters, noise_size, "logistic_mixture")

    def counts(self, tables: Sequence[np.ndarray]) -> MixtureCounts:
        return MixtureCounts(self.channels, self.num_levels)

    def log_prob(
        self, parameters: Tensor, levels: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Returns the log-probability of pixels, summed over channels: `(...)`, nats.

        The temperature divides the logits and multiplies the scales.
        """
        mixture = logistic_mixture.split(parameters, self.channels, temperature)
        scaled = scale_to_unit(levels, self.num_levels, mixture.logits.dtype)
        values = [scaled[..., channel : channel + 1] for channel in range(self.channels)]
        of_component = 0.0
        for log_prob in mixture.log_probs(values, self.num_levels):
            of_component = of_component + log_prob
        return ops.logsumexp(ops.log_softmax(mixture.logits, axis=-1) + of_component, axis=-1)

    def sample(
        self, parameters: Tensor, noise: Tensor, temperature: float | Tensor = 1.0
    ) -> Tensor:
        """Samples pixels `(..., channels)`, whole floats: a component, then channel by channel.

        Each channel is rounded to a level before it shifts the next one, so samples follow exactly
        the distribution of `log_prob`. The temperature T divides the logits and multiplies the
        scales; the result is not the mixture to the power 1/T.
        """
        num_mixtures = self.noise_size - self.channels
        gumbel = -ops.log(-ops.log(noise[..., :num_mixtures]))
        chosen = ops.argmax(parameters[..., :num_mixtures] / temperature + gumbel, axis=-1)
        component = logistic_mixture.of_component(parameters, chosen, num_mixtures)
        mixture = logistic_mixture.split(component, self.channels)
        uniform = noise[..., num_mixtures:]
        logistic = (ops.log(uniform) - ops.log1p(-uniform)) * temperature
        levels, earlier = [], []
        for channel in range(self.channels):
            spread = ops.exp(mixture.log_scales[channel]) * logistic[..., channel : channel + 1]
            value = mixture.mean_of(channel, earlier) + spread
            levels.append(logistic_mixture.round_to_level(value, self.num_levels))
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
        mixture = logistic_mixture.split(parameters, self.channels, temperature)
        channel, log_weights = len(earlier), mixture.logits
        values = [scale_to_unit(levels, self.num_levels, log_weights.dtype) for levels in earlier]
        for log_prob in mixture.log_probs(values, self.num_levels):
            log_weights = log_weights + log_prob
        mean, log_scales = mixture.mean_of(channel, values), mixture.log_scales[channel]
        weights = ops.exp(ops.log_softmax(log_weights, axis=-1))
        if count is None:
            probabilities = logistic_mixture.all_probabilities(
                weights, mean, log_scales, self.num_levels
            )
        else:
            per_component = logistic_mixture.interval_probabilities(
                mean, log_scales, self.num_levels, first, size, count
            )
            probabilities = ops.sum(weights[..., None] * per_component, axis=-2)
        probabilities = ops.maximum(probabilities, 1e-30)
        return ops.log(probabilities / ops.sum(probabilities, axis=-1, keepdims=True))


class CategoricalHead(Head):
    """Softmax over the levels of each sub-pixel, which does not use the order of the levels.

    The parameters are the logits of all sub-pixels. In masked networks, the logits of a sub-pixel
    depend on the earlier sub-pixels of its pixel through channel groups. For networks that compute
    all sub-pixels at once, the head adds a table entry for the level of each earlier sub-pixel to
    the logits. The tables start at 0.

    Args:
        channels, num_levels: See `Head`.
        num_mixtures: Ignored.
        tables: Boolean, whether to use tables.

    Example:

    >>> head = CategoricalHead(channels=1, num_levels=4)
    >>> head.level_log_probs(keras.ops.zeros((1, 4)), [])          # log(1/4), four times

    Reference:
        van den Oord et al. 2016, Pixel Recurrent Neural Networks, section 2.2,
        https://arxiv.org/abs/1601.06759
    """

    needs_groups = True

    def __init__(
        self, channels: int, num_levels: int, num_mixtures: int | None = None, tables: bool = True
    ):
        super().__init__(channels, num_levels, channels * num_levels, channels, "head_tables")
        pairs = [(channel, earlier) for channel in range(channels) for earlier in range(channel)]
        names = [f"{channel}_given_{earlier}" for channel, earlier in pairs] if tables else []
        self.tables = {
            name: keras.layers.Embedding(
                num_levels, num_levels, embeddings_initializer="zeros", dtype="float32", name=name
            )
            for name in names
        }
        for table in self.tables.values():
            table.build()

    def counts(self, tables: Sequence[np.ndarray]) -> CategoricalCounts:
        return CategoricalCounts(self.num_levels, dict(zip(self.tables, tables, strict=True)))

    def level_log_probs(
        self,
        parameters: Tensor,
        earlier: Sequence[Tensor],
        temperature: Tensor | None = None,
    ) -> Tensor:
        """Returns log-probabilities in nats; see `LogisticMixtureHead.level_log_probs`."""
        channel = len(earlier)
        logits = ops.split(parameters, self.channels, axis=-1)[channel]
        for index, levels in enumerate(earlier):
            if self.tables:
                table = self.tables[f"{channel}_given_{index}"]
                logits = logits + table(ops.cast(levels[..., 0], "int32"))
        logits = logits if temperature is None else logits / temperature
        return ops.log_softmax(logits, axis=-1)

    def log_prob(
        self, parameters: Tensor, levels: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Returns the log-probability of pixels, summed over channels: `(...)`, nats."""
        levels = ops.broadcast_to(levels, (*ops.shape(parameters)[:-1], self.channels))
        parts = [levels[..., channel : channel + 1] for channel in range(self.channels)]
        total = 0.0
        for channel, own in enumerate(parts):
            log_probs = self.level_log_probs(parameters, parts[:channel], temperature)
            total = total + ops.take_along_axis(log_probs, ops.cast(own, "int32"), axis=-1)[..., 0]
        return total

    def sample(
        self, parameters: Tensor, noise: Tensor, temperature: float | Tensor = 1.0
    ) -> Tensor:
        """Samples pixels `(..., channels)`, whole floats. The temperature divides the logits."""
        levels = []
        for channel in range(self.channels):
            log_probs = self.level_log_probs(parameters, levels, temperature)
            levels.append(first_level_above(log_probs, noise[..., channel : channel + 1]))
        return ops.concatenate(levels, axis=-1)


#: Dict from names to classes of heads, whose arguments are `channels`, `num_levels`,
#: `num_mixtures` and `tables`. You can add your own heads.
HEADS = {"logistic_mixture": LogisticMixtureHead, "categorical": CategoricalHead}


def first_level_above(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Samples levels by inversion: the first whose cumulative probability exceeds `uniform`.

    Args:
        log_probs: Float tensor `(..., num_levels)`, log-probabilities up to a constant.
        uniform: Float tensor `(..., 1)` in (0, 1).

    Returns:
        Float tensor `(..., 1)` of integers.
    """
    cumulative = ops.cumsum(ops.softmax(log_probs, axis=-1), axis=-1)
    # Rounded to float32, the sum may be below 1, and larger numbers would give impossible levels.
    total = cumulative[..., -1:]
    below = (cumulative <= uniform * total) & (cumulative < total)
    return ops.sum(ops.cast(below, "float32"), axis=-1, keepdims=True)
