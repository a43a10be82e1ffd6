"""Classifier-free guidance by the model's own classes: samples more typical of their class."""

import math

from keras import ops

from keras_pixelcnnpp.backend import Tensor, Tensors
from keras_pixelcnnpp.distributions.heads import Head, first_level_above

# More levels are sampled as two digits, with about 2 * sqrt(num_levels) instead of num_levels
# evaluations of each component, which for 256 levels of ten classes take longer than the network.
MAX_LEVELS_AT_ONCE = 32


def digits(num_levels: int) -> list[tuple[int, int]]:
    """Returns the unit and the number of values of each digit of a level, highest digit first."""
    if num_levels <= MAX_LEVELS_AT_ONCE:
        return [(1, num_levels)]
    unit = math.isqrt(num_levels - 1) + 1
    return [(unit, -(-num_levels // unit)), (1, unit)]


def sample_guided(
    head: Head,
    parameters: Tensor,
    noise: Tensor,
    log_likelihood: Tensor,
    inputs: Tensors,
    known: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples a pixel of each image with guidance, given its parameters under all classes.

    The probability of level l of a sub-pixel is proportional to

        p(l | y)^(1 + w) q(l)^(-w)  with  q(l) = sum_k softmax(β r)_k p(l | k)

    for the class y, the `guidance` w, the `guidance_logit_scale` β, and the log-likelihood r_k of
    all earlier sub-pixels under class k. With β = 1, q is that of the model's p(x). With more than
    `MAX_LEVELS_AT_ONCE` levels, l is instead each of two digits of a level in turn.

    Args:
        head: The distribution of a pixel.
        parameters: Float tensor `(batch, num_classes, num_parameters)`.
        noise: Float tensor `(batch, channels * digits)`, uniform in (0, 1).
        log_likelihood: Float tensor `(batch, num_classes)`, r, nats.
        inputs: Dict of `"label"`, int `(batch, 1)`, and `"temperature"`, `"guidance"` and
            `"guidance_logit_scale"`, float `(batch, 1)`.
        known: Optional pair of a boolean tensor `(batch, 1)`, whether the pixel is known, and its
            levels `(batch, channels)`.

    Returns:
        The levels `(batch, channels)`; the updated r; and the log-probability `(batch,)` of the
        levels under the guided distribution, nats.

    Reference:
        Ho & Salimans 2022, Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598.
        There, w has the same meaning, and q comes from an unconditional model.
    """
    levels, log_prob = [], 0.0
    num_classes = parameters.shape[1]
    of_class = ops.equal(inputs["label"], ops.arange(num_classes, dtype="int32"))
    of_class = ops.cast(of_class, "float32")[..., None]  # (batch, num_classes, 1)
    temperature = inputs["temperature"][:, None]
    uniform = iter(ops.split(noise, noise.shape[1], axis=1))
    for channel in range(head.channels):
        earlier = [ops.expand_dims(level, 1) for level in levels]
        level = ops.zeros_like(noise[:, :1])
        units = digits(head.num_levels)
        for unit, count in units:
            values = (level[:, None], unit, count) if len(units) > 1 else ()
            log_probs = head.level_log_probs(parameters, earlier, temperature, *values)
            weights = ops.log_softmax(inputs["guidance_logit_scale"] * log_likelihood, axis=1)
            marginal = ops.logsumexp(weights[..., None] + log_probs, axis=1)
            own = ops.sum(of_class * log_probs, axis=1)  # (batch, count)
            guided = ops.log_softmax(own + inputs["guidance"] * (own - marginal), axis=-1)
            digit = first_level_above(guided, next(uniform))
            if known is not None:
                wanted = (known[1][:, channel : channel + 1] - level) // unit
                digit = ops.where(known[0], wanted, digit)
            index = ops.cast(digit, "int32")
            log_prob = log_prob + ops.take_along_axis(guided, index, axis=1)[:, 0]
            index = ops.repeat(index[:, None], num_classes, axis=1)
            found = ops.take_along_axis(log_probs, index, axis=2)[..., 0]
            log_likelihood = log_likelihood + found
            level = level + unit * digit
        levels.append(level)
    return ops.concatenate(levels, axis=-1), log_likelihood, log_prob
