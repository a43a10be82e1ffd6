"""The mathematics of the mixture against float64 NumPy, enumeration and chi-square."""

import functools
import itertools

import numpy as np
import pytest
from backend_tools import compiled, input_gradient
from keras import ops
from reference_mixture import ReferencePixel
from scipy.stats import chisquare

from keras_pixelcnnpp.distributions import logistic_mixture

SIZES = [(1, 17), (1, 256), (1, 2), (2, 5), (3, 6), (4, 3)]  # channels, levels


def wide_parameters(rng, count, channels, num_mixtures=3):
    """Pixels with logits and means to ±3, log-scales from −7 to 3, coefficients to ±2."""
    pairs = channels * (channels - 1) // 2
    return np.concatenate(
        [
            rng.uniform(-3, 3, (count, num_mixtures)),
            rng.uniform(-3, 3, (count, channels * num_mixtures)),
            rng.uniform(-7, 3, (count, channels * num_mixtures)),
            rng.uniform(-2, 2, (count, pairs * num_mixtures)),
        ],
        axis=1,
    ).astype("float32")


def all_pixels(channels, num_levels):
    """Every pixel there is, `(num_levels ** channels, channels)`, the last channel fastest."""
    return np.array(list(itertools.product(range(num_levels), repeat=channels)))


def call(function, *arrays):
    """`function` of tensors, for arrays."""
    tensors = [ops.convert_to_tensor(np.asarray(array, "float32")) for array in arrays]
    return ops.convert_to_numpy(compiled(function)(*tensors))


def sample(parameters, noise, channels, num_levels, temperature=1.0):
    """`logistic_mixture.sample`, NumPy in and out."""

    def function(parameters, noise):
        return logistic_mixture.sample(parameters, noise, channels, num_levels, temperature)

    return call(function, parameters, noise).astype("int64")


def log_prob(parameters, levels, num_levels):
    """`logistic_mixture.log_prob`, NumPy in and out."""
    tensors = [
        ops.convert_to_tensor(np.asarray(array, "float32")) for array in (parameters, levels)
    ]
    return ops.convert_to_numpy(_compiled_log_prob(num_levels)(*tensors))


@functools.cache
def _compiled_log_prob(num_levels):
    return compiled(
        lambda parameters, levels: logistic_mixture.log_prob(parameters, levels, num_levels)
    )


@pytest.mark.parametrize(("channels", "num_levels"), SIZES)
def test_probabilities_of_all_pixels_sum_to_one(rng, channels, num_levels):
    parameters = wide_parameters(rng, 200, channels)
    pixels = all_pixels(channels, num_levels)
    log_probs = log_prob(parameters[:, None], pixels[None], num_levels)
    assert np.exp(log_probs.astype("float64")).sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("channels", "num_levels"), [(1, 17), (1, 256), (3, 256), (4, 9)])
def test_log_prob_agrees_with_float64(rng, channels, num_levels):
    parameters = wide_parameters(rng, 100, channels)
    levels = rng.integers(0, num_levels, (100, channels))
    levels[:20] = 0
    levels[20:40] = num_levels - 1
    received = log_prob(parameters, levels, num_levels)
    expected = [
        ReferencePixel(parameters[index], channels, num_levels).log_prefix(levels[index])
        for index in range(100)
    ]
    # What float32 must lose: the last bit of `x - mean`, up to 9 here, times the largest 1 / s.
    unavoidable = channels * 9 * 2.0**-24 * np.exp(7)
    assert received == pytest.approx(np.array(expected), rel=1e-5, abs=unavoidable)


@pytest.mark.parametrize("num_levels", [2, 17, 256])
def test_gradients_are_finite_at_every_edge(num_levels):
    """Lowest and highest levels and their neighbors, means far outside, extreme scales."""
    levels = sorted({0, 1, num_levels // 2, num_levels - 2, num_levels - 1})
    cases = [
        (logit, mean, log_scale, level)
        for logit in (-50, 0, 50)
        for mean in (-30, -1, 0, 1, 30)
        for log_scale in (-40, -7, 0, 7, 80)
        for level in levels
    ]
    cases = np.array(cases, "float32")
    other = np.tile(np.float32([0.0, 0.5, -2.0]), (len(cases), 1))
    both = np.stack([cases[:, :3], other], axis=-1)  # two components: all parts interleave
    parameters = both.reshape(len(cases), -1)
    levels = ops.convert_to_tensor(cases[:, 3:])

    def total(parameters):
        return ops.sum(logistic_mixture.log_prob(parameters, levels, num_levels))

    assert np.all(np.isfinite(log_prob(parameters, cases[:, 3:], num_levels)))
    assert np.all(np.isfinite(input_gradient(total, parameters)))


def noise(rng, count, num_mixtures, channels):
    """Uniform noise in (0, 1), as the sampler gets it."""
    uniform = rng.uniform(size=(count, num_mixtures + channels))
    return np.clip(uniform, 2.0**-32, 1 - 2.0**-24).astype("float32")


@pytest.mark.parametrize(("channels", "num_levels"), [(1, 4), (2, 4), (3, 3)])
def test_sampling_follows_log_prob(rng, channels, num_levels):
    """Exactly: rounding a sub-pixel only after the next one saw it would fail this."""
    count = 100_000
    parameters = wide_parameters(rng, 1, channels, num_mixtures=2)[0]
    scales = slice(2 + 2 * channels, 2 + 4 * channels)
    parameters[scales] = rng.uniform(-2, 0, 2 * channels)
    uniform = noise(rng, count, 2, channels)
    samples = sample(np.tile(parameters, (count, 1)), uniform, channels, num_levels)
    counts = np.bincount(
        np.ravel_multi_index(samples.T, (num_levels,) * channels), minlength=num_levels**channels
    )
    expected = ReferencePixel(parameters, channels, num_levels).probabilities().ravel()
    assert expected.sum() == pytest.approx(1)
    frequent = expected * count > 5
    observed = np.append(counts[frequent], counts[~frequent].sum() + 1e-9)
    expected = np.append(expected[frequent], expected[~frequent].sum() + 1e-14) * count
    assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


def test_rounding_inverts_scaling():
    for num_levels in (2, 17, 255, 256):
        levels = ops.arange(num_levels)
        scaled = logistic_mixture.scale_to_unit(levels, num_levels)
        rounded = logistic_mixture.round_to_level(scaled, num_levels)
        assert ops.convert_to_numpy(rounded).tolist() == list(range(num_levels))
    beyond = ops.convert_to_tensor(np.float32([-7.0, 7.0]))
    assert ops.convert_to_numpy(logistic_mixture.round_to_level(beyond, 17)).tolist() == [0, 16]


def test_parameters_that_fit_no_mixture_are_refused():
    with pytest.raises(ValueError, match=r"`parameters`.*multiple of 10 for channels=3.*\(2, 12\)"):
        logistic_mixture.split(ops.zeros((2, 12)), 3)
