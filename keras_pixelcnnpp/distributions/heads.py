"""What a network's outputs at a pixel mean: the two distributions, behind one interface.

A head is a layer that says how many parameters a pixel has (`num_parameters`) and how much uniform
noise it takes to sample one (`noise_size`). It has three methods:

| method | gives |
|---|---|
| `log_prob(parameters, levels, temperature)` | log-probability of whole pixels, nats |
| `sample(parameters, noise, temperature)` | pixels, as levels |
| `level_log_probs(parameters, earlier, temperature)` | those of all levels of the next sub-pixel |

The last is what guidance needs. Parameters are `(..., num_parameters)`, float32; levels
are `(..., channels)`, whose leading axes broadcast to those of the parameters. A temperature is a
tensor `(..., 1)`, or `None` for 1; all methods mean the same by it.
"""

from collections.abc import Sequence

import keras
from keras import ops

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.checks import require_choice, require_integer
from keras_pixelcnnpp.distributions import logistic_mixture


class Head(keras.layers.Layer):
    """Base of the heads, a layer since a head may have weights; it computes in float32.

    Args:
        channels: Integer, sub-pixels of a pixel.
        num_levels: Integer, values of a sub-pixel.
        num_parameters: Integer, outputs of the network at a pixel.
        noise_size: Integer, uniform numbers that sampling a pixel takes.
        name: Name of the layer.
    """

    def __init__(
        self, channels: int, num_levels: int, num_parameters: int, noise_size: int, name: str
    ):
        super().__init__(name=name, dtype="float32")
        self.channels = channels
        self.num_levels = num_levels
        self.num_parameters = num_parameters
        self.noise_size = noise_size
        self.built = True


class LogisticMixtureHead(Head):
    """A mixture of discretized logistics, whose means the earlier sub-pixels shift linearly.

    It has `num_mixtures * (1 + 2 C + C (C - 1) / 2)` parameters for C channels, whatever the number
    of levels, and knows that neighboring levels are alike.

    Args:
        channels: Integer, sub-pixels of a pixel.
        num_levels: Integer, values of a sub-pixel.
        num_mixtures: Integer, logistic components.
        tables: Ignored.

    Example:

    >>> head = LogisticMixtureHead(channels=3, num_levels=256, num_mixtures=5)
    >>> head.log_prob(keras.ops.zeros((2, head.num_parameters)), keras.ops.zeros((2, 3))).shape
    (2,)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.1, https://arxiv.org/abs/1701.05517
    """

    def __init__(self, channels: int, num_levels: int, num_mixtures: int, tables: bool = False):
        num_parameters = logistic_mixture.num_parameters(num_mixtures, channels)
        noise_size = num_mixtures + channels
        super().__init__(channels, num_levels, num_parameters, noise_size, "logistic_mixture")

    def log_prob(
        self, parameters: Tensor, levels: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Log-probability of pixels, all their channels together: `(...)`, nats."""
        return logistic_mixture.log_prob(parameters, levels, self.num_levels, temperature)

    def sample(
        self, parameters: Tensor, noise: Tensor, temperature: float | Tensor = 1.0
    ) -> Tensor:
        """Samples pixels `(..., channels)`, floats; see `logistic_mixture.sample`."""
        return logistic_mixture.sample(
            parameters, noise, self.channels, self.num_levels, temperature
        )

    def level_log_probs(
        self,
        parameters: Tensor,
        earlier: Sequence[Tensor],
        temperature: Tensor | None = None,
        first: int | Tensor = 0,
        size: int = 1,
        count: int | None = None,
    ) -> Tensor:
        """Nats `(..., count)`; see `logistic_mixture.level_log_probs`."""
        return logistic_mixture.level_log_probs(
            parameters, earlier, self.channels, self.num_levels, temperature, first, size, count
        )


class CategoricalHead(Head):
    """A softmax over the levels of each sub-pixel: any shape, but nothing is known of their order.

    The parameters are the logits of all sub-pixels. How a sub-pixel depends on the earlier ones of
    its pixel: a masked network sees them, channel group by channel group; for a network that
    computes all sub-pixels at once, `tables` adds to the logits a row for each earlier sub-pixel,
    that of its level, 0 at first: a free function of it, where the mixture only shifts a mean.

    Args:
        channels: Integer, sub-pixels of a pixel.
        num_levels: Integer, values of a sub-pixel.
        num_mixtures: Ignored.
        tables: Boolean, whether the head itself makes sub-pixels depend on each other.

    Example:

    >>> head = CategoricalHead(channels=1, num_levels=4)
    >>> head.level_log_probs(keras.ops.zeros((1, 4)), [])          # log(1/4) each

    Reference:
        van den Oord et al. 2016, Pixel Recurrent Neural Networks, section 2.2,
        https://arxiv.org/abs/1601.06759
    """

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

    def level_log_probs(
        self,
        parameters: Tensor,
        earlier: Sequence[Tensor],
        temperature: Tensor | None = None,
        first: int | Tensor = 0,
        size: int = 1,
        count: int | None = None,
    ) -> Tensor:
        """Nats `(..., count)`; see `logistic_mixture.level_log_probs`."""
        channel = len(earlier)
        logits = ops.split(parameters, self.channels, axis=-1)[channel]
        for index, levels in enumerate(earlier):
            if self.tables:
                table = self.tables[f"{channel}_given_{index}"]
                logits = logits + table(ops.cast(levels[..., 0], "int32"))
        logits = logits if temperature is None else logits / temperature
        if count is not None:
            levels = ops.cast(first, "int32") + ops.arange(size * count, dtype="int32")
            inside = levels < self.num_levels
            levels = ops.minimum(levels, self.num_levels - 1)
            levels = ops.broadcast_to(levels, (*ops.shape(logits)[:-1], size * count))
            logits = ops.where(inside, ops.take_along_axis(logits, levels, axis=-1), -1e30)
            logits = ops.reshape(logits, (-1, *logits.shape[1:-1], count, size))
            logits = ops.logsumexp(logits, axis=-1)
        return ops.log_softmax(logits, axis=-1)

    def log_prob(
        self, parameters: Tensor, levels: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Log-probability of pixels, all their channels together: `(...)`, nats."""
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
        """Samples pixels; the temperature divides the logits. As `LogisticMixtureHead.sample`."""
        levels = []
        for channel in range(self.channels):
            log_probs = self.level_log_probs(parameters, levels, temperature)
            levels.append(first_level_above(log_probs, noise[..., channel : channel + 1]))
        return ops.concatenate(levels, axis=-1)


#: From a name to a function of `(channels, num_levels, num_mixtures, tables)`. A head of your own
#: is added here.
HEADS = {"logistic_mixture": LogisticMixtureHead, "categorical": CategoricalHead}


def make_head(name: str, channels: int, num_levels: int, num_mixtures: int, tables: bool) -> Head:
    """The head of a name; `num_mixtures` matters to one, `tables` to the other.

    Raises:
        ValueError: If there is no head of that name, or `num_mixtures` is not positive.
    """
    require_choice("head", name, tuple(HEADS))
    require_integer("num_mixtures", num_mixtures)
    return HEADS[name](channels, num_levels, num_mixtures, tables)


def first_level_above(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Samples by inversion: the first level whose cumulative probability exceeds `uniform`.

    Args:
        log_probs: Float tensor `(..., num_levels)`, logarithms up to a constant.
        uniform: Float tensor `(..., 1)` in (0, 1).

    Returns:
        Float tensor `(..., 1)` of whole levels.
    """
    cumulative = ops.cumsum(ops.softmax(log_probs, axis=-1), axis=-1)
    # In float32 the probabilities don't add up to 1: beyond their sum lie impossible levels.
    total = cumulative[..., -1:]
    below = (cumulative <= uniform * total) & (cumulative < total)
    return ops.sum(ops.cast(below, "float32"), axis=-1, keepdims=True)
