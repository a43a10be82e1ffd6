"""Statistics of the conditional distribution of each sub-pixel."""

import hashlib
from typing import NamedTuple

import numpy as np
from keras import ops
from scipy.ndimage import uniform_filter
from scipy.special import log_softmax, logsumexp

from keras_pixelcnnpp.conditions import Values
from keras_pixelcnnpp.models.likelihood import LikelihoodModel
from keras_pixelcnnpp.models.scoring import evaluated, for_values
from keras_pixelcnnpp.utils.backend import Nest, Tensor, Tensors

MAX_PROBABILITIES = 2_000_000  # of levels and mixture components, computed at once
NEGLIGIBLE = 1e-7  # sum of the weights of values that are left out at a pixel


class PixelStatistics(NamedTuple):
    """Expected and actual log-probabilities of each sub-pixel, given the earlier ones.

    All are float32 arrays `(N, height, width, channels)`. If the images are samples of the model,
    `-log_prob - entropy` has mean 0 and the given `variance` at each sub-pixel and is uncorrelated
    between sub-pixels, and `pit` is independent and uniform.

    Attributes:
        log_prob: log p(x_i | x_<i), nats.
        entropy: Mean of `-log_prob` under the conditional distribution p(· | x_<i), nats.
        variance: Variance of `-log_prob` under this distribution, squared nats.
        pit: Probability integral transform P(X_i < x_i) + v P(X_i = x_i), with v uniform, in
            [0, 1]. NaN for codes (`ordered_levels=False`), because it depends on their order.
    """

    log_prob: np.ndarray
    entropy: np.ndarray
    variance: np.ndarray
    pit: np.ndarray

    @property
    def excess_surprisal(self) -> np.ndarray:
        """Σ(-log p - H) of each image, float64 `(N,)`, nats.

        For samples of the model, it has mean 0 exactly, and the variance E[ΣV].
        """
        return self._excess_and_variance()[0].sum(axis=(1, 2))

    @property
    def standardized_surprisal(self) -> np.ndarray:
        """Σ(-log p - H) / √ΣV of each image, float64 `(N,)`.

        Unlike bits/dim, it needs no reference images. For samples of the model, it approaches a
        standard normal distribution as the number of sub-pixels grows. Mean 0 and variance 1 are
        not exact, because the denominator is random: for 2×2 images, the mean may be 0.1.
        """
        variance = self._excess_and_variance()[1].sum(axis=(1, 2))
        return self.excess_surprisal / np.sqrt(np.maximum(variance, np.finfo("float32").tiny))

    def surprise_map(self, size: int = 3) -> np.ndarray:
        """Standardized surprisal around each pixel, float64 `(N, height, width)`.

        It is Σ(-log p - H) / √(1 + ΣV), summed over a square of `size` × `size` pixels. The 1, in
        squared nats, limits the map where the model is certain. Noise that the model expects is not
        surprising, even where -log p is large.
        """
        excess, variance = (
            size**2 * uniform_filter(part, (1, size, size), mode="constant")
            for part in self._excess_and_variance()
        )
        return excess / np.sqrt(1.0 + np.maximum(variance, 0.0))

    def _excess_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns -log p - H and V, summed over the channels, float64 `(N, height, width)`."""
        excess = -self.log_prob.astype("float64") - self.entropy
        return excess.sum(axis=-1), self.variance.sum(axis=-1, dtype="float64")


def with_pit(found: np.ndarray, images: np.ndarray, seed: int) -> PixelStatistics:
    """Returns statistics, given the result of `statistics_of_batch` for all images."""
    log_prob, entropy, variance, below = np.moveaxis(found, -1, 0)
    pit = np.clip(below + uniform_numbers(images, seed) * np.exp(log_prob), 0.0, 1.0)
    return PixelStatistics(log_prob, entropy, variance, pit)


def uniform_numbers(images: np.ndarray, seed: int) -> np.ndarray:
    """Returns the numbers v of the probability integral transform, float32 with `images.shape`.

    Those of an image depend on the seed and the image alone, and not on its position.
    """
    uniform = np.empty(images.shape, "float32")
    for image, numbers in zip(images, uniform, strict=True):
        digest = hashlib.sha256(image.tobytes()).digest()
        stream = np.random.default_rng([seed, int.from_bytes(digest, "little")])
        stream.random(dtype="float32", out=numbers)
    return uniform


def parameters_of(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    """Computes the parameters of each pixel and log p of the pixel, `(batch, K, H, W, P + 1)`."""
    images = inputs["images"]
    levels = ops.expand_dims(model.to_levels(images), 1)

    def evaluate(values: Values) -> Tensor:
        parameters = model.pixel_parameters(images, values)
        log_prob = model.distribution.log_prob(parameters, levels)
        return ops.concatenate([parameters, log_prob[..., None]], axis=-1)

    return for_values(model, evaluate, inputs["values"])


def _level_log_probs(model: LikelihoodModel, inputs: Tensors) -> Tensor:
    """Computes the log-probabilities of all levels of pixels, `(pixels, channels, num_levels)`.

    The inputs are their parameters `(pixels, P)` and their levels `(pixels, channels)`, on which
    those of later channels depend.
    """
    head = model.distribution
    levels = ops.split(inputs["levels"], head.channels, axis=-1)
    found = [
        head.level_log_probs(inputs["parameters"], levels[:channel])
        for channel in range(head.channels)
    ]
    return ops.stack(found, axis=1)


def statistics_of_batch(
    model: LikelihoodModel,
    found: np.ndarray,
    inputs: dict[str, Nest],
    log_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Returns log p, H, V and P(X_i < x_i) of a batch, `(batch, height, width, channels, 4)`.

    `found` is the result of `parameters_of`. `log_weights`, float `(batch, K, height, width)`, are
    the log-likelihoods of the values given what precedes each pixel, by default the earlier pixels
    of the image. Levels are evaluated only under values whose weight is not negligible.
    """
    count, candidates, height, width, _ = found.shape
    channels, pixels = model.image_shape[-1], count * height * width
    by_pixel = np.moveaxis(found, 1, 3)  # (batch, height, width, K, P + 1)
    log_probs = by_pixel[..., -1].reshape(count, -1, candidates).astype("float64")
    if log_weights is None:
        up_to = np.cumsum(log_probs, axis=1) - log_probs
    else:
        up_to = np.moveaxis(log_weights, 1, 3).reshape(log_probs.shape)
    weights = log_softmax(up_to, axis=2).reshape(pixels, candidates)
    log_probs = log_probs.reshape(pixels, candidates)
    total = logsumexp(weights + log_probs, axis=1)
    # Earlier channels of a pixel may increase a weight, at most by 1 / p(pixel).
    largest = weights if channels == 1 else weights - total[:, None]
    pixel, label = np.nonzero(largest > np.log(NEGLIGIBLE / candidates))
    weights = weights[pixel, label]
    parameters = by_pixel.reshape(pixels, candidates, -1)[pixel, label, :-1]
    levels = model.to_levels(inputs["images"]).reshape(pixels, channels)
    result = np.empty((pixels, channels, 4), "float32")
    of_one = channels * model.num_levels * model.num_mixtures
    at_once = max(candidates, MAX_PROBABILITIES // of_one)
    starts = np.searchsorted(pixel, np.arange(pixels + 1))
    first = 0
    while first < pixels:
        last = np.searchsorted(starts, starts[first] + at_once, "right") - 1
        rows = slice(starts[first], starts[last])
        own = levels[pixel[rows]]
        of_rows = {"parameters": parameters[rows], "levels": own.astype("float32")}
        of_levels = evaluated(model, _level_log_probs, of_rows, at_once)
        begins = starts[first:last] - starts[first]
        result[first:last] = _of_pixels(of_levels, own.astype("int64"), weights[rows], begins)
        first = last
    # Heads bound the probabilities of levels from below, but not those of pixels. The difference
    # belongs to the least probable sub-pixel.
    least = result[..., 0].argmin(axis=1)
    result[np.arange(pixels), least, 0] += total - result[..., 0].sum(axis=1)
    if not model.ordered_levels:
        result[..., 3] = np.nan
    return result.reshape(count, height, width, channels, 4)


def _of_pixels(
    log_probs: np.ndarray, levels: np.ndarray, weights: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Returns log p, H, V and P(X_i < x_i) of some pixels, float32 `(pixels, channels, 4)`.

    `log_probs`, float32 `(rows, channels, num_levels)`, are those of all levels, for one or more
    values of each pixel, which have consecutive rows from `starts` on. `levels`, int `(rows,
    channels)`, are the pixels, and `weights` `(rows,)` the log-weights of the values before them.
    """
    of_label = np.take_along_axis(log_probs, levels[..., None], axis=2)[..., 0]
    # Each channel changes the weights for the next ones.
    weights = weights[:, None] + np.cumsum(of_label, axis=1) - of_label
    lengths = np.diff(starts, append=len(levels))
    weights -= np.maximum.reduceat(weights, starts).repeat(lengths, axis=0)
    weights -= np.log(np.add.reduceat(np.exp(weights), starts)).repeat(lengths, axis=0)
    log_probs += weights[..., None].astype("float32")
    probs = np.add.reduceat(np.exp(log_probs), starts)  # (pixels, channels, num_levels)
    log_probs, levels = np.log(np.maximum(probs, 1e-30)), levels[starts, :, None]
    entropy = -np.einsum("pcl,pcl->pc", probs, log_probs)
    log_prob = np.take_along_axis(log_probs, levels, axis=2)[..., 0]
    below = np.where(np.arange(probs.shape[2]) < levels, probs, 0.0).sum(axis=2)
    log_probs += entropy[..., None]
    variance = np.einsum("pcl,pcl,pcl->pc", probs, log_probs, log_probs)
    return np.stack([log_prob, entropy, variance, below], axis=-1)
