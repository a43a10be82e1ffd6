"""Sampling of sub-pixels from the probabilities of their levels, as guidance changes them."""

import math

from keras import ops

from keras_pixelcnnpp.distributions.heads import Head, first_level_above
from keras_pixelcnnpp.utils.backend import Tensor, Tensors


def digits(head: Head) -> list[tuple[int, int]]:
    """Returns the unit and the number of values of each digit of a level, highest digit first.

    There is one digit, the level itself, with up to `head.levels_at_once` levels.
    """
    num_levels = head.num_levels
    if num_levels <= head.levels_at_once:
        return [(1, num_levels)]
    unit = math.isqrt(num_levels - 1) + 1
    return [(unit, -(-num_levels // unit)), (1, unit)]


def sample_sub_pixels(
    head: Head,
    parameters: Tensor,
    noise: Tensor,
    inputs: Tensors,
    log_likelihood: Tensor | None = None,
    known: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Samples the sub-pixels of a pixel in turn, given its parameters, with or without guidance.

    With guidance, the probability of level l of a sub-pixel is proportional to

        p(l | y)^(1 + w) q(l)^(-w)  with  q(l) = sum_k softmax(β r)_k p(l | k)

    for the class y, the `guidance` w, the `guidance_logit_scale` β, and the log-likelihood r_k of
    all earlier sub-pixels under class k. With β = 1, q is that of the model's p(x). At a
    temperature, p(l | y) and p(l | k) are at this temperature; r_k is not. With more than
    `head.levels_at_once` levels, l is instead each of two digits of a level in turn.

    Args:
        head: The distribution of a pixel.
        parameters: Float tensor `(batch, num_classes, num_parameters)`; without guidance, those of
            the class y alone, `(batch, 1, num_parameters)`.
        noise: Float tensor `(batch, channels * digits)`, uniform in (0, 1).
        inputs: Dict of `"temperature"`, float `(batch, 1)`, absent for 1; and with guidance of
            `"label"`, int `(batch, 1)`, `"guidance"` and `"guidance_logit_scale"`, float `(batch,
            1)`.
        log_likelihood: Float tensor `(batch, num_classes)`, r, nats; `None` without guidance.
        known: Optional pair of a boolean tensor `(batch, channels)`, whether each sub-pixel is
            known, and its levels `(batch, channels)`.

    Returns:
        The levels `(batch, channels)`; the updated r; and the log-probability `(batch,)` of the
        known levels under the distribution that is sampled, nats.

    Reference:
        Ho & Salimans 2022, Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598.
        There, w has the same meaning, and q comes from an unconditional model.
    """
    levels, log_prob, num_classes = [], ops.zeros_like(noise[:, 0]), parameters.shape[1]
    guided, temperature = log_likelihood is not None, inputs.get("temperature")
    if guided:
        of_class = ops.equal(inputs["label"], ops.arange(num_classes, dtype="int32"))
        of_class = ops.cast(of_class, "float32")[..., None]  # (batch, num_classes, 1)
    temperature = None if temperature is None else temperature[:, None]
    uniform = iter(ops.split(noise, noise.shape[1], axis=1))
    units = digits(head)
    for channel in range(head.channels):
        earlier = [ops.expand_dims(level, 1) for level in levels]
        level = ops.zeros_like(noise[:, :1])
        for unit, count in units:
            # 1. The probabilities of the values of this digit.
            values = (level[:, None], unit, count) if len(units) > 1 else ()
            log_probs = head.level_log_probs(parameters, earlier, temperature, *values)
            if guided:
                weights = ops.log_softmax(inputs["guidance_logit_scale"] * log_likelihood, axis=1)
                marginal = ops.logsumexp(weights[..., None] + log_probs, axis=1)
                own = ops.sum(of_class * log_probs, axis=1)  # (batch, count)
                law = ops.log_softmax(own + inputs["guidance"] * (own - marginal), axis=-1)
            else:
                law = ops.log_softmax(log_probs[:, 0], axis=-1)
            # 2. Its value: sampled, or known.
            digit = first_level_above(law, next(uniform))
            if known is not None:
                is_known, wanted = (part[:, channel : channel + 1] for part in known)
                digit = ops.where(is_known, (wanted - level) // unit, digit)
            index = ops.cast(digit, "int32")
            if known is not None:
                of_digit = ops.take_along_axis(law, index, axis=1)
                log_prob = log_prob + ops.where(is_known, of_digit, 0.0)[:, 0]
            # 3. The likelihoods of the classes, which the temperature does not change.
            if guided:
                if temperature is not None:
                    log_probs = head.level_log_probs(parameters, earlier, None, *values)
                index = ops.repeat(index[:, None], num_classes, axis=1)
                found = ops.take_along_axis(log_probs, index, axis=2)[..., 0]
                log_likelihood = log_likelihood + found
            level = level + unit * digit
        levels.append(level)
    return ops.concatenate(levels, axis=-1), log_likelihood, log_prob
