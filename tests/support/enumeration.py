"""Models with so few possible images that all can be listed, and laws over these images."""

import itertools

import numpy as np
from scipy.special import logsumexp
from scipy.stats import chisquare

from keras_pixelcnnpp.distributions.levels import to_images, to_levels
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus


def enumerable_model(image_shape=(2, 2, 1), cls=PixelCNNPlusPlus, **arguments):
    """Creates a model of images with four sub-pixels, four levels and two classes."""
    options = {
        "num_classes": 2,
        "num_levels": 4,
        "filters": 8,
        "num_blocks": 1,
        "num_mixtures": 2,
        "conditioning": "bias",
        "label_loss_weight": 0.0,
    }
    if cls is PixelCNNPlusPlus:
        options |= {"filters": 4, "num_resolutions": 1, "conditioned_blocks": "all"}
    return with_weights(cls(image_shape, **{**options, **arguments}))


def with_weights(model):
    """Returns a model with random weights from NumPy, which are the same under every backend."""
    rng = np.random.default_rng(0)
    of_head = getattr(model.distribution, "trainable_variables", [])
    for variable in model.network.trainable_variables + of_head:
        if variable.name != "gain":
            variable.assign(0.3 * rng.normal(size=variable.shape))
    return model


def as_trained(model, factor):
    """Returns a model in which the pixels and the label matter, as in a trained one."""
    for variable in model.network.trainable_variables:
        if variable.name == "gain":  # the initial gains are small
            variable.assign(np.ones(variable.shape))
        elif variable.name not in ("direction", "bias"):  # tables of labels
            variable.assign(factor * variable)
    return model


def binary_images(image_shape):
    """Returns all images of black and white sub-pixels, in the order of their binary numbers."""
    values = itertools.product([0, 255], repeat=int(np.prod(image_shape)))
    return np.array(list(values), "uint8").reshape(-1, *image_shape)


def chi_square_of_binary(images, log_probs):
    """Returns the p-value of a chi-square test of samples, given the law of `binary_images`."""
    powers = 2 ** np.arange(images[0].size)[::-1]
    return chi_square_of_numbers((images.reshape(len(images), -1) > 0) @ powers, log_probs)


def all_images(image_shape=(2, 2, 1)):
    """Returns all 256 images; the sub-pixels of image k are the digits of k in base four."""
    levels = list(itertools.product(range(4), repeat=4))
    return to_images(np.array(levels), 4).reshape(-1, *image_shape)


def log_law(model, label):
    """Returns the normalized log-probabilities of all images, float64."""
    labels = None if label is None else np.full(256, label)
    log_probs = model.log_prob(all_images(model.image_shape), labels, batch_size=256)
    log_probs = log_probs.astype("float64")
    assert abs(logsumexp(log_probs)) < 1e-5
    return log_probs - logsumexp(log_probs)


def conditionals(log_probs, base=4):
    """Returns the log-probability of each sub-pixel given the earlier ones, as four arrays.

    The k-th array has the shape `(4,) * (k + 1)`, with the sub-pixel on its last axis. With a
    `base` of 2, there is an array for each of the eight binary digits.
    """
    count = {4: 4, 2: 8}[base]
    joint = log_probs.reshape((base,) * count)
    prefixes = [logsumexp(joint, axis=tuple(range(k + 1, count))) for k in range(count - 1)]
    prefixes.append(joint)
    first = prefixes[0]
    return [first] + [after - before[..., None] for before, after in itertools.pairwise(prefixes)]


def law_from_conditionals(steps):
    """Inverts `conditionals`; the steps need not be normalized."""
    total = np.zeros(())
    for step in steps:
        total = total[..., None] + step - logsumexp(step, axis=-1, keepdims=True)
    return total.ravel()


def image_numbers(images):
    """Returns the index of each image in `all_images`."""
    return to_levels(images, 4).reshape(len(images), 4) @ np.array([64, 16, 4, 1])


def chi_square(images, log_probs):
    """Returns the p-value of a chi-square test of samples; rare images are pooled."""
    return chi_square_of_numbers(image_numbers(images), log_probs)


def chi_square_of_numbers(numbers, log_probs):
    """Returns the p-value of a chi-square test, given the number of each sample in the law."""
    counts = np.bincount(numbers, minlength=len(log_probs))
    expected = np.exp(log_probs) * len(numbers)
    assert expected.sum() > 0.999 * len(numbers)
    rare = expected < 5
    assert counts[expected == 0].sum() == 0
    counts, expected = (
        np.append(numbers[~rare], numbers[rare].sum()) for numbers in (counts, expected)
    )
    counts, expected = counts[expected > 0], expected[expected > 0]
    return chisquare(counts, expected * counts.sum() / expected.sum()).pvalue
