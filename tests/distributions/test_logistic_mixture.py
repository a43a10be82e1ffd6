"""Compares the logistic mixture with a float64 NumPy implementation."""

import numpy as np
import pytest
from backend_tools import compiled, input_gradient
from keras import ops
from reference_mixture import ReferencePixel

from keras_pixelcnnpp.distributions.heads import LogisticMixtureHead


def wide_parameters(rng, count, channels, num_mixtures=3):
    """Returns parameters with logits and means in ±3, log-scales in [−7, 3], coefficients in ±2."""
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


@pytest.mark.parametrize(
    ("channels", "num_levels"), [(1, 2), (1, 17), (1, 256), (2, 5), (3, 256), (4, 9)]
)
def test_log_prob_agrees_with_float64(rng, channels, num_levels):
    parameters = wide_parameters(rng, 100, channels)
    levels = rng.integers(0, num_levels, (100, channels))
    levels[:20] = 0
    levels[20:40] = num_levels - 1
    function = compiled(LogisticMixtureHead(channels, num_levels, 3).log_prob)
    tensors = map(ops.convert_to_tensor, (parameters, levels.astype("float32")))
    received = ops.convert_to_numpy(function(*tensors))
    expected = [
        ReferencePixel(parameters[index], channels, num_levels).log_prefix(levels[index])
        for index in range(100)
    ]
    # The rounding error of float32 in `x - mean`, which is at most 9, times the largest 1 / s.
    unavoidable = channels * 9 * 2.0**-24 * np.exp(7)
    assert received == pytest.approx(np.array(expected), rel=1e-5, abs=unavoidable)


@pytest.mark.parametrize("num_levels", [2, 17, 256])
def test_gradients_are_finite_at_every_edge(num_levels):
    """Tests the outermost levels and their neighbors, distant means, and extreme scales."""
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
    # Two components, so that all parameters interleave.
    both = np.stack([cases[:, :3], other], axis=-1)
    parameters = both.reshape(len(cases), -1)
    levels = ops.convert_to_tensor(cases[:, 3:])

    head = LogisticMixtureHead(1, num_levels, 2)

    def total(parameters):
        return ops.sum(head.log_prob(parameters, levels))

    assert np.isfinite(float(total(ops.convert_to_tensor(parameters))))
    assert np.all(np.isfinite(input_gradient(total, parameters)))
