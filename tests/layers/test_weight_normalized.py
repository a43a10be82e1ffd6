import numpy as np
import pytest
from backend_tools import variable_gradients
from keras import ops
from layer_checks import run, weights_of

from keras_pixelcnnpp.layers.convolutions import (
    DownRightShiftedConv2D,
    DownRightShiftedConv2DTranspose,
    DownShiftedConv2D,
    DownShiftedConv2DTranspose,
    WeightNormalizedDense,
    data_dependent_initialization,
)

LAYERS = [
    DownShiftedConv2D,
    DownRightShiftedConv2D,
    DownShiftedConv2DTranspose,
    DownRightShiftedConv2DTranspose,
    WeightNormalizedDense,
]


@pytest.fixture
def x(rng):
    """Features whose channels do not have mean 0 and standard deviation 1."""
    scaled = rng.normal(size=(8, 1, 6, 6, 3)) * [0.1, 1, 10] + [5, 0, -3]
    return scaled.astype("float32")


@pytest.mark.parametrize("initial_scale", [1.0, 0.1])
@pytest.mark.parametrize("cls", LAYERS)
def test_initialization_gives_mean_0_and_the_scale(x, cls, initial_scale):
    layer = cls(5, initial_scale=initial_scale)
    run(layer, x)
    with data_dependent_initialization():
        first = run(layer, x)
    output = run(layer, x)
    np.testing.assert_allclose(first, output, rtol=1e-4, atol=1e-4)
    axes = (0, 1, 2, 3)
    np.testing.assert_allclose(output.mean(axis=axes), 0, atol=1e-4)
    np.testing.assert_allclose(output.std(axis=axes), initial_scale, rtol=1e-4)


def test_initialization_under_mixed_precision_sets_the_biases(x):
    layer = WeightNormalizedDense(5, dtype="mixed_bfloat16")
    run(layer, x)
    with data_dependent_initialization():
        run(layer, x)
    output = run(layer, x)
    np.testing.assert_allclose(output.mean(axis=(0, 1, 2, 3)), 0, atol=0.1)


def test_a_constant_channel_keeps_a_bounded_gain():
    layer = WeightNormalizedDense(4)
    constant = np.ones((2, 3, 3, 2), "float32")
    run(layer, constant)
    with data_dependent_initialization():
        run(layer, constant)
    gain = weights_of(layer)["gain"]
    assert np.all(np.isfinite(gain))
    assert gain.max() <= 100.01
    np.testing.assert_allclose(run(layer, constant), 0, atol=1e-4)


def test_gradient_is_orthogonal_to_the_direction(x):
    """The gradient does not change the length of the direction (Salimans & Kingma 2016, 2.1)."""
    layer = WeightNormalizedDense(5)
    run(layer, x)
    (gradient,) = variable_gradients(
        lambda: ops.sum(layer(ops.convert_to_tensor(x)) ** 3), [layer.direction]
    )
    direction = ops.convert_to_numpy(layer.direction)
    lengths = np.linalg.norm(gradient, axis=0) * np.linalg.norm(direction, axis=0)
    assert np.all(lengths > 0)
    np.testing.assert_allclose((gradient * direction).sum(axis=0) / lengths, 0, atol=1e-4)
