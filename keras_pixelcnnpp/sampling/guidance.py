"""Guidance by the model's own classes: samples that are more typical of their class."""

from keras import ops

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.distributions.heads import Head, first_level_above


def sample_guided(
    head: Head,
    parameters: Tensor,
    noise: Tensor,
    log_likelihood: Tensor,
    inputs: dict[str, Tensor],
    known: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples a pixel of each image, given its parameters under all classes.

    Each level l of a sub-pixel has a probability proportional to

        p(l | y)^(1 + w) q(l)^(-w)  with  q(l) = sum_k softmax(b r)_k p(l | k)

    for the class y, the `guidance` w, the `guidance_logit_scale` b, and the log-likelihood r_k of
    all earlier sub-pixels under class k. With b = 1, q is the model's own p(x).

    Args:
        head: The distribution of a pixel.
        parameters: Float tensor `(batch, num_classes, num_parameters)`.
        noise: Uniform float tensor `(batch, channels)` in (0, 1).
        log_likelihood: Float tensor `(batch, num_classes)`, r, nats.
        inputs: Dict of `"label"`, int `(batch, 1)`, and `"temperature"`, `"guidance"` and
            `"guidance_logit_scale"`, float `(batch, 1)`.
        known: Optional pair of a boolean tensor `(batch, 1)` and levels `(batch, channels)`, which
            are taken where it is true.

    Returns:
        The levels `(batch, channels)`, the new r, and the log-probability `(batch,)` of the levels
        under the guided distribution, nats.

    Reference:
        Ho & Salimans 2022, Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598,
        whose guidance scale is w as well, and whose q is another network's.
    """
    levels, log_prob = [], 0.0
    num_classes = parameters.shape[1]
    of_class = ops.equal(inputs["label"], ops.arange(num_classes, dtype="int32"))
    of_class = ops.cast(of_class, "float32")[..., None]  # (batch, num_classes, 1)
    for channel in range(head.channels):
        earlier = [ops.expand_dims(level, 1) for level in levels]
        log_probs = head.level_log_probs(parameters, earlier, inputs["temperature"][:, None])
        weights = ops.log_softmax(inputs["guidance_logit_scale"] * log_likelihood, axis=1)
        marginal = ops.logsumexp(weights[..., None] + log_probs, axis=1)
        own = ops.sum(of_class * log_probs, axis=1)  # (batch, num_levels)
        guided = ops.log_softmax(own + inputs["guidance"] * (own - marginal), axis=-1)
        level = first_level_above(guided, noise[:, channel : channel + 1])
        if known is not None:
            level = ops.where(known[0], known[1][:, channel : channel + 1], level)
        index = ops.cast(level, "int32")
        log_prob = log_prob + ops.take_along_axis(guided, index, axis=1)[:, 0]
        index = ops.repeat(index[:, None], num_classes, axis=1)
        log_likelihood = log_likelihood + ops.take_along_axis(log_probs, index, axis=2)[..., 0]
        levels.append(level)
    return ops.concatenate(levels, axis=-1), log_likelihood, log_prob
