"""Label guidance: exaggerates what the label changes, exactly, on the grid of levels."""

from keras import ops

from keras_pixelcnnpp.distributions import logistic_mixture


def sample_guided(parameters, noise, weight, channels, num_levels, temperature=1.0):
    """Draws pixels from `p(x | y)**(1 + w) / p(x)**w`, renormalized channel by channel.

    Each channel's conditional distribution is evaluated on all levels under both the label and "no
    label", combined as `(1 + w) log p(. | y) - w log p(.)`, divided by the temperature and
    normalized over the levels.

    Args:
        parameters: Mixture parameters `(2 * batch, num_parameters)`: first all pictures under
            their label, then the same pictures under "no label".
        noise: Uniform tensor `(batch, num_mixtures + channels)` in (0, 1).
        weight: Tensor `(batch, 1)`, `w`; 0 is no guidance.
        channels: Integer.
        num_levels: Integer.
        temperature: Tensor `(batch, 1)`.

    Returns:
        Float tensor `(batch, channels)` of whole levels.

    Reference:
        Ho & Salimans 2022, Classifier-Free Diffusion Guidance, eq. 6,
        https://arxiv.org/abs/2207.12598
    """
    mixture = logistic_mixture.split(parameters, channels)
    grid = logistic_mixture.scale_to_unit(ops.arange(num_levels), num_levels)
    log_weights = ops.log_softmax(mixture.logits, axis=-1)
    uniform = noise[:, noise.shape[-1] - channels :]
    levels = []
    for channel in range(channels):
        # (2 * batch, M, num_levels)
        per_component = logistic_mixture.log_probability_of_level(
            grid,
            ops.expand_dims(mixture.mean_of(channel, _twice(levels, num_levels)), -1),
            ops.expand_dims(mixture.log_scales[channel], -1),
            num_levels,
        )
        log_probs = ops.logsumexp(ops.expand_dims(log_weights, -1) + per_component, axis=1)
        log_probs = ops.log_softmax(log_probs, axis=-1)
        with_label, without = ops.split(log_probs, 2, axis=0)
        guided = ((1.0 + weight) * with_label - weight * without) / temperature
        level = _invert(guided, uniform[:, channel : channel + 1])
        levels.append(level)
        chosen = ops.one_hot(ops.cast(ops.concatenate([level, level])[:, 0], "int32"), num_levels)
        log_weights = log_weights + ops.sum(per_component * ops.expand_dims(chosen, 1), axis=-1)
    return ops.concatenate(levels, axis=-1)


def _twice(levels, num_levels):
    """The earlier channels as scaled values, for both halves of the batch."""
    scaled = [logistic_mixture.scale_to_unit(level, num_levels) for level in levels]
    return [ops.concatenate([value, value]) for value in scaled]


def _invert(log_probs, uniform):
    """The first level whose cumulative probability exceeds `uniform`, `(batch, 1)`."""
    cumulative = ops.cumsum(ops.softmax(log_probs, axis=-1), axis=-1)
    below = ops.cast(cumulative <= uniform, "float32")
    level = ops.sum(below, axis=-1, keepdims=True)
    return ops.minimum(level, log_probs.shape[-1] - 1.0)
