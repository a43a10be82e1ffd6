"""Sequential Monte Carlo: particles, which are weighted by the known pixels and resampled.

Reference:
    Doucet & Johansen 2011, A Tutorial on Particle Filtering and Smoothing; Douc & Cappé 2005,
    Comparison of resampling schemes, https://arxiv.org/abs/cs/0507025 (systematic resampling).
"""

import math

from keras import ops

from keras_pixelcnnpp.utils.backend import Tensor, Tensors


class Particles:
    """The particles of each image, which follow each other in the batch of a pass.

    Their weights, and the number of the first particle from which each descends, are passed from
    pixel to pixel in the `carry` of the pass.

    Args:
        count: Integer, number of particles of an image.
    """

    def __init__(self, count: int):
        self.count = count

    def repeat(self, x: Tensor) -> Tensor:
        """Repeats each image for its particles."""
        return x if self.count == 1 else ops.repeat(x, self.count, axis=0)

    def first(self, num_images: int | Tensor) -> Tensors:
        """Returns the entries of `carry` before the first pixel."""
        zeros = ops.zeros((num_images * self.count,))
        own = ops.arange(self.count, dtype="int32")
        ancestor = ops.reshape(ops.zeros((num_images, 1), "int32") + own, (-1,))
        return {"log_weight": zeros, "log_evidence": zeros, "ancestor": ancestor}

    def resampled(
        self, carry: Tensors, uniform: Tensor, is_wanted: Tensor
    ) -> tuple[Tensors, Tensor]:
        """Resamples the particles of some images; see `resample`.

        Returns the new `carry`, and the index in the batch of the particle that replaces each.
        """
        log_weights = ops.reshape(carry["log_weight"], (-1, self.count))
        chosen, log_weights, log_mean = resample(log_weights, uniform, is_wanted)
        chosen = self._in_batch(chosen)
        carry = {name: ops.take(x, chosen, axis=0) for name, x in carry.items()}
        carry["log_weight"] = ops.reshape(log_weights, (-1,))
        carry["log_evidence"] = carry["log_evidence"] + self.repeat(log_mean[:, 0])
        return carry, chosen

    def samples(
        self, levels: Tensor, carry: Tensors, uniform: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Samples `count` particles of each image by weight.

        Returns their levels, `(images * count, ...)`; log p of the known pixels `(images,)`, nats;
        and the effective number of ancestors, `(images,)`: 1 / the sum of their squared weights.
        """
        log_weights = ops.reshape(carry["log_weight"], (-1, self.count))
        total = ops.logsumexp(log_weights, axis=1, keepdims=True)
        weights = ops.exp(log_weights - total)
        chosen = self._in_batch(particle_at(weights, systematic(count, uniform)))
        log_evidence = ops.reshape(carry["log_evidence"], (-1, self.count))[:, 0]
        log_evidence = log_evidence + total[:, 0] - math.log(self.count)
        ancestors = ops.reshape(carry["ancestor"], (-1, self.count, 1))
        own = ops.arange(self.count, dtype="int32")
        descends = ops.cast(ops.equal(ancestors, own), "float32")
        shares = ops.sum(weights[..., None] * descends, axis=1)
        effective = 1.0 / ops.sum(ops.square(shares), axis=1)
        return ops.take(levels, chosen, axis=0), log_evidence, effective

    def _in_batch(self, chosen: Tensor) -> Tensor:
        """Converts indices of particles `(images, n)` to indices in the batch `(images * n,)`."""
        first = ops.arange(ops.shape(chosen)[0], dtype="int32")[:, None] * self.count
        return ops.reshape(chosen + first, (-1,))


def resample(
    log_weights: Tensor, uniform: Tensor, is_wanted: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Resamples the particles of the images whose effective sample size is below one half.

    Args:
        log_weights: Float tensor `(images, particles)`, nats.
        uniform: Float tensor `(images, 1)`, a random number in (0, 1) for each image.
        is_wanted: Boolean tensor `(images, 1)`. Other images are not resampled, for example because
            no pixel remains to be sampled, so that resampling would only lose particles.

    Returns:
        The index of the particle that replaces each particle, int `(images, particles)`; the new
        log-weights, which are 0 after resampling; and the logarithm of the mean weight of resampled
        images, `(images, 1)`, 0 for others.
    """
    count = log_weights.shape[1]
    total = ops.logsumexp(log_weights, axis=1, keepdims=True)
    weights = ops.exp(log_weights - total)
    is_poor = is_wanted & (ops.sum(ops.square(weights), axis=1, keepdims=True) > 2 / count)
    chosen = particle_at(weights, systematic(count, uniform))
    return (
        ops.where(is_poor, chosen, ops.arange(count, dtype="int32")),
        ops.where(is_poor, 0.0, log_weights),
        ops.where(is_poor, total - math.log(count), 0.0),
    )


def systematic(count: int, uniform: Tensor) -> Tensor:
    """Returns equidistant positions in (0, 1), `(images, count)`, for numbers `(images, 1)`."""
    return (ops.arange(count, dtype="float32") + uniform) / count


def particle_at(weights: Tensor, positions: Tensor) -> Tensor:
    """Returns the particles at `positions` `(images, n)` in (0, 1) of the cumulative weights."""
    cumulative = ops.cumsum(weights, axis=1)
    # Rounded to float32, the sum may be below 1, and larger positions have particles of weight 0.
    cumulative = cumulative / cumulative[:, -1:]
    below = cumulative[:, None, :-1] <= positions[..., None]
    return ops.sum(ops.cast(below, "int32"), axis=-1)
