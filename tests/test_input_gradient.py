import keras
import numpy as np
import pytest
from keras import ops

from keras_pixelcnnpp import receptive_field as gradients
from keras_pixelcnnpp.receptive_field import input_gradient


def test_closed_form(rng):
    x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    weights = keras.Variable(w)
    received = input_gradient(lambda tensor: ops.sum(ops.sin(ops.matmul(tensor, weights))), x)
    np.testing.assert_allclose(received, np.cos(x @ w) @ w.T, rtol=1e-5)
    assert received.dtype == np.float32


def test_what_has_no_influence_has_gradient_zero():
    received = input_gradient(lambda tensor: ops.sum(tensor[:1]) ** 2, [3.0, 5.0])
    np.testing.assert_array_equal(received, [6.0, 0.0])


def test_input_that_is_not_used():
    received = input_gradient(lambda tensor: ops.sum(keras.Variable([2.0]) ** 2), [3.0, 5.0])
    np.testing.assert_array_equal(received, [0.0, 0.0])


def test_backend_without_gradients(monkeypatch):
    monkeypatch.setattr(gradients.keras.backend, "backend", lambda: "numpy")
    with pytest.raises(RuntimeError, match=r"tensorflow, jax, torch\. Received: numpy"):
        input_gradient(ops.sum, [1.0])
