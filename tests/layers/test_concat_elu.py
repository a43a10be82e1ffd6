import numpy as np
from keras import ops

from keras_pixelcnnpp.layers.gated_residual import concat_elu


def test_equals_numpy(rng):
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    both = np.concatenate([x, -x], axis=-1).astype("float64")
    expected = np.where(both > 0, both, np.exp(both) - 1)
    received = ops.convert_to_numpy(concat_elu(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)


def test_keeps_the_dtype():
    assert "bfloat16" in str(concat_elu(ops.zeros((1, 2), "bfloat16")).dtype)
