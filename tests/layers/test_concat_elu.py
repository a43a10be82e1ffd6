import numpy as np
from backend_tools import input_gradient
from keras import ops

from keras_pixelcnnpp.layers.gated_residual import concat_elu


def test_equals_numpy(rng):
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    both = np.concatenate([x, -x], axis=-1).astype("float64")
    expected = np.where(both > 0, both, np.exp(both) - 1)
    received = ops.convert_to_numpy(concat_elu(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)


def test_gradient(rng):
    x = np.concatenate([rng.normal(size=10), [0.0, 1e-6, -1e-6, 50.0, -50.0, 200.0, -200.0]])
    weights = rng.normal(size=(2, len(x)))

    def weighted(tensor):
        return ops.sum(concat_elu(tensor) * ops.convert_to_tensor(weights.ravel(), "float32"))

    slopes = np.exp(np.minimum([x, -x], 0.0))
    expected = weights[0] * slopes[0] - weights[1] * slopes[1]
    received = input_gradient(weighted, x.astype("float32"))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


def test_keeps_the_dtype():
    assert "bfloat16" in str(concat_elu(ops.zeros((1, 2), "bfloat16")).dtype)
