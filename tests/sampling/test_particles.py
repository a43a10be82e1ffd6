"""Tests of systematic resampling against its definition."""

import numpy as np
from keras import ops
from scipy.special import logsumexp

from keras_pixelcnnpp.sampling.particles import Particles, particle_at, resample


def test_counts_are_those_of_the_weights(rng):
    spread = rng.uniform(0.2, 2, (50, 1))
    log_weights = (spread * rng.normal(size=(50, 16))).astype("float32")
    uniform = rng.random((50, 1)).astype("float32")
    given = map(ops.convert_to_tensor, (log_weights, uniform, np.arange(50)[:, None] != 4))
    chosen, after, log_mean = map(ops.convert_to_numpy, resample(*given))
    weights = np.exp(log_weights - logsumexp(log_weights, axis=1, keepdims=True))
    poor = 1 / (weights**2).sum(axis=1) < 8
    assert poor[4]
    poor[4] = False  # not wanted
    assert 0 < poor.sum() < 50
    counts = np.stack([np.bincount(row, minlength=16) for row in chosen])
    # The count of each particle is its expected count, rounded down or up.
    assert np.all(np.abs(counts - 16 * weights)[poor] < 1 + 1e-4)
    np.testing.assert_array_equal(after[poor], 0)
    expected = logsumexp(log_weights[poor], axis=1) - np.log(16)
    np.testing.assert_allclose(log_mean[poor, 0], expected, rtol=1e-5, atol=1e-5)
    # The other groups are unchanged.
    np.testing.assert_array_equal(chosen[~poor], np.tile(np.arange(16), (sum(~poor), 1)))
    np.testing.assert_array_equal(after[~poor], log_weights[~poor])
    np.testing.assert_array_equal(log_mean[~poor], 0)


def test_ancestors_of_what_would_be_sampled():
    """All weight is on a particle, on two with the same ancestor, or on all, or 3/4 on one."""
    log_weight = np.float32([[0, -90, -90], [0, -90, 0], [0, 0, 0], [np.log(6), 0, 0]])
    carry = {
        "log_weight": log_weight.ravel(),
        "log_evidence": np.zeros(12, "float32"),
        "ancestor": np.int32([0, 1, 2, 1, 0, 1, 0, 1, 2, 2, 0, 1]),
    }
    carry = {name: ops.convert_to_tensor(x) for name, x in carry.items()}
    uniform = ops.convert_to_tensor(np.full((4, 1), 0.5, "float32"))
    _, _, effective = Particles(3).samples(ops.zeros((12, 1)), carry, uniform, 1)
    expected = [1, 1, 3, 1 / (0.75**2 + 2 * 0.125**2)]
    np.testing.assert_allclose(ops.convert_to_numpy(effective), expected, rtol=1e-5)


def test_a_particle_without_weight_is_never_chosen():
    weights = ops.convert_to_tensor(np.float32([[0, 0.3, 0.7, 0]]))
    positions = ops.convert_to_tensor(np.float32([[2.0**-32, 0.2999, 0.3001, 1 - 2.0**-24]]))
    chosen = ops.convert_to_numpy(particle_at(weights, positions))
    np.testing.assert_array_equal(chosen, [[1, 1, 2, 2]])
