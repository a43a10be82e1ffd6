"""Base class of the heads: the distribution of a pixel, from the outputs of a network."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import MAX_LEVELS
from keras_pixelcnnpp.utils.errors import UserError

#: Function from levels, int64 `(N,)`, to the sum of the shares of all lower levels.
Cumulative = Callable[[np.ndarray], np.ndarray]


class Counts(Protocol):
    """Distribution of a pixel in integers, from its parameters."""

    def sub_pixel(self, parameters: np.ndarray, earlier: Sequence[np.ndarray]) -> Cumulative:
        """Returns the distribution of a sub-pixel given the levels of the earlier ones, `(N,)`."""


class Head(keras.layers.Layer):
    """Base class of the heads. It is a layer because a head may have weights, and uses float32.

    A subclass defines `level_log_probs`, the log-probabilities of the levels of a sub-pixel, and
    may have faster methods for `log_prob` and `sample`. Its constructor takes those of the
    arguments `channels`, `num_levels`, `num_mixtures` (of the model) and `tables` that it needs.

    Parameters are float32 `(..., num_parameters)`. Levels are `(..., channels)`, and their leading
    axes broadcast to those of the parameters. The temperature is a tensor `(..., 1)`, or for a
    temperature of 1, `None` (in `sample`, the number 1.0).

    Args:
        channels: Integer, number of sub-pixels of a pixel.
        num_levels: Integer, number of values of a sub-pixel.
        num_parameters: Integer, number of outputs of the network for each pixel.
        noise_size: Integer, number of uniform random numbers that sampling a pixel needs.
        name: Name of the layer.

    Attributes:
        max_levels: Integer, the largest number of levels that the head allows.
        levels_at_once: Number of levels that guidance samples at once. More levels are sampled as
            two digits, for which `level_log_probs` has the arguments `first`, `size` and `count`;
            see `MixtureHead.level_log_probs`.
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

    def level_log_probs(
        self,
        parameters: Tensor,
        earlier: Sequence[Tensor],
        temperature: Tensor | None = None,
    ) -> Tensor:
        """Returns the log-probabilities of a sub-pixel's levels, `(..., num_levels)`, nats.

        Args:
            parameters: Float tensor `(..., num_parameters)`.
            earlier: List of tensors `(..., 1)`, the levels of the earlier sub-pixels.
            temperature: Positive tensor `(..., 1)`; `None` for 1.
        """
        raise NotImplementedError

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
        """Samples pixels `(..., channels)`, whole floats, by inversion of each sub-pixel in turn.

        `noise` is `(..., noise_size)`, uniform in (0, 1), here with a number for each channel.
        """
        levels = []
        for channel in range(self.channels):
            log_probs = self.level_log_probs(parameters, levels, temperature)
            levels.append(first_level_above(log_probs, noise[..., channel : channel + 1]))
        return ops.concatenate(levels, axis=-1)


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
