"""The tfp `Distribution`, and the error if tfp is not installed."""

import importlib
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from reference_mixture import ReferencePixel
from scipy.stats import chisquare

import keras_pixelcnnpp
from keras_pixelcnnpp.distributions import mixture

needs_tfp = pytest.mark.usefixtures("tfp")
# Sampling in tfp calls jax.numpy.shape(None).
tfp_samples = pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning")


@pytest.fixture(scope="module")
def tfp():
    """Imports tensorflow_probability for the current backend without warnings."""
    if keras.backend.backend() == "torch":
        pytest.skip("tensorflow_probability has no torch backend")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from keras_pixelcnnpp.distributions import discretized_logistic_mixture

        return discretized_logistic_mixture.tfp


def example_parameters(rng, *leading, channels=2, num_mixtures=2):
    parameters = rng.normal(size=(*leading, mixture.num_parameters(num_mixtures, channels)))
    scales = slice(num_mixtures * (1 + channels), num_mixtures * (1 + 2 * channels))
    parameters[..., scales] -= 1
    return parameters.astype("float32")


def distribution(parameters, **arguments):
    return keras_pixelcnnpp.DiscretizedLogisticMixture(
        ops.convert_to_tensor(parameters), **arguments
    )


def seed_for_tfp(value):
    if keras.backend.backend() == "jax":
        import jax

        return jax.random.PRNGKey(value)
    return (0, value)


@needs_tfp
@tfp_samples
def test_shapes_and_seeds(rng):
    parameters = example_parameters(rng, 3, 1).astype("float64")
    example = distribution(parameters, channels=2, num_levels=4)
    assert tuple(example.batch_shape) == (3, 1)
    assert tuple(example.event_shape) == (2,)
    assert ops.convert_to_numpy(example.batch_shape_tensor()).tolist() == [3, 1]
    assert ops.convert_to_numpy(example.event_shape_tensor()).tolist() == [2]
    assert tuple(example.log_prob(ops.zeros((5, 3, 4, 2))).shape) == (5, 3, 4)
    assert (example.num_mixtures, example.channels, example.num_levels) == (2, 2, 4)
    samples = [example.sample((5, 2), seed=seed_for_tfp(seed)) for seed in (0, 0, 1)]
    first, again, other = map(ops.convert_to_numpy, samples)
    assert first.shape == (5, 2, 3, 1, 2)
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@needs_tfp
@tfp_samples
def test_samples_and_log_prob_follow_the_law(rng):
    parameters = example_parameters(rng)
    example = distribution(parameters, channels=2, num_levels=4)
    samples = example.sample(100_000, seed=seed_for_tfp(1))
    levels = ops.convert_to_numpy(samples).astype("int64")
    assert levels.shape == (100_000, 2)
    counts = np.bincount(levels @ [4, 1], minlength=16)
    expected = ReferencePixel(parameters, 2, 4).probabilities().ravel() * 100_000
    assert expected.min() > 5
    pixels = ops.convert_to_tensor(np.float32(list(np.ndindex(4, 4))))
    log_probs = ops.convert_to_numpy(example.log_prob(pixels))
    np.testing.assert_allclose(np.exp(log_probs), expected / 100_000, rtol=1e-5)
    assert chisquare(counts, expected * 100_000 / expected.sum()).pvalue > 1e-3


@needs_tfp
@pytest.mark.parametrize("value", [1.5, -1.0, 4.0])
def test_a_value_between_levels_is_an_error_where_asked_for(rng, value):
    example = distribution(example_parameters(rng), channels=2, num_levels=4, validate_args=True)
    example.log_prob(ops.ones((2,)))
    error = ValueError
    if keras.backend.backend() == "tensorflow":
        error = importlib.import_module("tensorflow").errors.InvalidArgumentError
    with pytest.raises(error, match="integers from 0 to 3"):
        example.log_prob(ops.full((2,), value))
    distribution(example_parameters(rng), channels=2, num_levels=4).log_prob(ops.full((2,), value))


@pytest.mark.torch
def test_torch_has_no_tfp():
    with pytest.raises(ImportError, match=r"no torch backend.*LogisticMixtureHead"):
        keras_pixelcnnpp.DiscretizedLogisticMixture  # noqa: B018
