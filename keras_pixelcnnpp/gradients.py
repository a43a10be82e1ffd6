"""Gradients with respect to an input, under whatever backend Keras runs on."""

import keras
import numpy as np
from keras import ops


def input_gradient(function, array):
    """Gradient of a scalar with respect to an array.

    Args:
        function: From a float32 tensor of the shape of `array` to a scalar tensor. Under JAX it
            is compiled.
        array: Numbers, of any shape.

    Returns:
        Float32 array of the shape of `array`; zeros where the scalar doesn't depend on it.

    Raises:
        RuntimeError: Under a backend without gradients, such as `numpy`.

    Example:

    >>> input_gradient(lambda x: keras.ops.sum(x**2), [1.0, 2.0])
    array([2., 4.], dtype=float32)
    """
    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise RuntimeError(
            f"Gradients need one of the backends {', '.join(_GRADIENTS)}. Received: {backend}"
        )
    gradient = _GRADIENTS[backend](function, np.asarray(array, "float32"))
    return ops.convert_to_numpy(gradient)


# Each imports its own backend: the others need not be installed.


def _tensorflow(function, array):
    import tensorflow as tf

    tensor = tf.convert_to_tensor(array)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = function(tensor)
    return tape.gradient(value, tensor, unconnected_gradients="zero")


def _jax(function, array):
    import jax

    return jax.jit(jax.grad(function))(array)


def _torch(function, array):
    import torch

    tensor = ops.convert_to_tensor(array).requires_grad_()
    (gradient,) = torch.autograd.grad(
        function(tensor), tensor, allow_unused=True, materialize_grads=True
    )
    return gradient


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
