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


def draw(parameters, noise, channels, num_levels, temperature=1.0):
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


def test_conditionals_of_rgb_with_256_levels_sum_to_one(rng):
    """p(first two channels) from sums over the third equals what two channels alone have."""
    parameters = wide_parameters(rng, 50, 3)
    first_two = rng.integers(0, 256, (50, 2))
    levels = np.concatenate(
        [np.repeat(first_two[:, None], 256, axis=1), np.tile(np.arange(256), (50, 1))[..., None]],
        axis=-1,
    )
    joint = log_prob(parameters[:, None], levels, 256).astype("float64")
    marginal = np.logaddexp.reduce(joint, axis=1)
    for pixel in range(50):
        expected = ReferencePixel(parameters[pixel], 3, 256).log_prefix(first_two[pixel])
        assert marginal[pixel] == pytest.approx(expected, rel=1e-5, abs=1e-3)


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


def test_scales_below_the_floor_are_floored(rng):
    parameters = wide_parameters(rng, 10, 1)
    lower = parameters.copy()
    lower[:, 6:] = -30
    parameters[:, 6:] = -7
    levels = rng.integers(0, 256, (10, 1))
    assert log_prob(lower, levels, 256) == pytest.approx(log_prob(parameters, levels, 256))


@pytest.mark.parametrize("num_levels", [2, 17, 256])
def test_gradients_are_finite_at_every_edge(num_levels):
    """Lowest and highest levels and their neighbours, means far outside, extreme scales."""
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


def test_gradients_of_rgb_agree_with_finite_differences(rng):
    parameters = wide_parameters(rng, 20, 3, num_mixtures=2)
    parameters[:, 8:14] = rng.uniform(-3, 1, (20, 6))
    levels = rng.integers(0, 256, (20, 3))
    tensor = ops.convert_to_tensor(levels.astype("float32"))
    received = input_gradient(
        lambda values: ops.sum(logistic_mixture.log_prob(values, tensor, 256)), parameters
    )
    step = 1e-5
    for pixel in range(20):
        for index in range(parameters.shape[1]):
            ends = [parameters[pixel].astype("float64") for _ in range(2)]
            ends[0][index] -= step
            ends[1][index] += step
            low, high = (ReferencePixel(end, 3, 256).log_prefix(levels[pixel]) for end in ends)
            expected = (high - low) / (2 * step)
            assert received[pixel, index] == pytest.approx(expected, rel=2e-3, abs=2e-4)


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
    draws = draw(np.tile(parameters, (count, 1)), uniform, channels, num_levels)
    counts = np.bincount(
        np.ravel_multi_index(draws.T, (num_levels,) * channels), minlength=num_levels**channels
    )
    expected = ReferencePixel(parameters, channels, num_levels).probabilities().ravel()
    assert expected.sum() == pytest.approx(1)
    frequent = expected * count > 5
    observed = np.append(counts[frequent], counts[~frequent].sum() + 1e-9)
    expected = np.append(expected[frequent], expected[~frequent].sum() + 1e-14) * count
    assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


def test_the_next_channel_sees_the_rounded_one():
    """Coefficient 1 and no noise: the second channel repeats the rounded first one."""
    coefficient = 20.0  # tanh 1
    parameters = np.array([[0.0, 0.3, 0.0, -7.0, -7.0, coefficient]])
    middle = np.full((1, 3), 0.5)  # the logistic noise is 0
    # 0.3 lies next to level 2 (1/3); unrounded, the second would be 0.3 as well. With mean 0.34
    # more the two differ: 0.3 + 0.34 = 0.64 is level 2, 1/3 + 0.34 = 0.673 is level 3.
    assert draw(parameters, middle, 2, 4).tolist() == [[2, 2]]
    parameters[0, 2] = 0.34
    assert draw(parameters, middle, 2, 4).tolist() == [[2, 3]]


def test_low_temperature_takes_the_likeliest_component_and_its_centre():
    parameters = np.float32([[1.0, 0.0, 0.5, -0.5, 0.0, 0.0]])
    rng = np.random.default_rng(0)
    uniform = noise(rng, 1000, 2, 1)
    draws = draw(np.tile(parameters, (1000, 1)), uniform, 1, 256, temperature=1e-4)
    # 0.5 is level 191.25
    assert np.unique(draws).tolist() == [191]


def test_rounding_inverts_scaling():
    for num_levels in (2, 17, 255, 256):
        levels = ops.arange(num_levels)
        scaled = logistic_mixture.scale_to_unit(levels, num_levels)
        rounded = logistic_mixture.round_to_level(scaled, num_levels)
        assert ops.convert_to_numpy(rounded).tolist() == list(range(num_levels))
    beyond = ops.convert_to_tensor(np.float32([-7.0, 7.0]))
    assert ops.convert_to_numpy(logistic_mixture.round_to_level(beyond, 17)).tolist() == [0, 16]


def test_shapes_broadcast(rng):
    parameters = wide_parameters(rng, 6, 3).reshape(2, 3, 1, -1)
    levels = rng.integers(0, 5, (2, 1, 4, 3))
    assert log_prob(parameters, levels, 5).shape == (2, 3, 4)


@pytest.mark.parametrize(("channels", "expected"), [(1, 15), (2, 30), (3, 50), (4, 75)])
def test_num_parameters(channels, expected):
    assert logistic_mixture.num_parameters(5, channels) == expected


def test_parameters_that_fit_no_mixture_are_refused():
    with pytest.raises(ValueError, match=r"`parameters`.*multiple of 10 for channels=3.*\(2, 12\)"):
        logistic_mixture.split(ops.zeros((2, 12)), 3)


def test_bits_per_dim():
    assert logistic_mixture.bits_per_dim(-np.log(2.0) * 12, (1, 1, 3)) == pytest.approx(4)
