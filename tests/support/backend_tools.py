"""Compilation and gradients under the current backend."""

from contextlib import contextmanager

import keras
import numpy as np
from keras import ops


@contextmanager
def eager(value=True):
    """Runs TensorFlow functions without tracing them, or with tracing."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(value)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def compiled(function):
    """Compiles a function of tensors under JAX, where single operations are slow to compile."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def input_gradient(function, array):
    """Returns the gradient of a scalar function of a tensor, at a float32 array."""
    variable = keras.Variable(np.asarray(array, "float32"))
    return variable_gradients(lambda: function(ops.convert_to_tensor(variable)), [variable])[0]


def variable_gradients(function, variables):
    """Returns the gradients of the scalar tensor `function()` with respect to Keras variables."""
    gradients = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    result = gradients[keras.backend.backend()](function, variables)
    return [ops.convert_to_numpy(gradient) for gradient in result]


def _tensorflow(function, variables):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = function()
    return tape.gradient(value, [variable.value for variable in variables])


def _jax(function, variables):
    import jax

    def stateless(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function()

    return jax.jit(jax.grad(stateless))([variable.value for variable in variables])


def _torch(function, variables):
    import torch

    return torch.autograd.grad(function(), [variable.value for variable in variables])
