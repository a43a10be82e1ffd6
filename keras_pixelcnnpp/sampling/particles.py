"""Sequential Monte Carlo: resampling of particles, which are weighted by the known pixels.

Reference:
    Doucet & Johansen 2011, A Tutorial on Particle Filtering and Smoothing; Douc & Cappé 2005,
    Comparison of resampling schemes, https://arxiv.org/abs/cs/0507025 (systematic resampling).
"""

import math

from keras import ops

from keras_pixelcnnpp.backend import Tensor


def resample(log_weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Resamples the particles of the images whose effective sample size is below one half.

    Args:
        log_weights: Float tensor `(images, particles)`, nats.
        uniform: Float tensor `(images, 1)` in (0, 1).

    Returns:
        The index of the particle that replaces each particle, int `(images, particles)`; the new
        log-weights, which are 0 after resampling; and the logarithm of the mean weight of resampled
        images, `(images, 1)`, 0 for others.
    """
    count = log_weights.shape[1]
    total = ops.logsumexp(log_weights, axis=1, keepdims=True)
    weights = ops.exp(log_weights - total)
    is_poor = ops.sum(ops.square(weights), axis=1, keepdims=True) > 2 / count
    own = ops.arange(count, dtype="int32")
    positions = (ops.cast(own, "float32") + uniform) / count
    chosen = ops.where(is_poor, particle_at(weights, positions), own)
    return (
        chosen,
        ops.where(is_poor, 0.0, log_weights),
        ops.where(is_poor, total - math.log(count), 0.0),
    )


def particle_at(weights: Tensor, positions: Tensor) -> Tensor:
    """Returns the particles at `positions` `(images, n)` in (0, 1) of the cumulative weights."""
    cumulative = ops.cumsum(weights, axis=1)
    # Rounded to float32, the sum may be below 1, and larger positions have particles of weight 0.
    cumulative = cumulative / cumulative[:, -1:]
    below = cumulative[:, None, :-1] <= positions[..., None]
    return ops.sum(ops.cast(below, "int32"), axis=-1)
