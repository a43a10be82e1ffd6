"""Compiling and gradients under whatever backend runs."""

import keras
import numpy as np
from keras import ops


def compiled(function):
    """`function` of tensors, compiled under JAX, whose single operations are slow to compile."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def input_gradient(function, array):
    """Gradient of `function`, a tensor in and a scalar tensor out, at a float32 array."""
    variable = keras.Variable(np.asarray(array, "float32"))
    return variable_gradients(lambda: function(ops.convert_to_tensor(variable)), [variable])[0]


def variable_gradients(function, variables):
    """Gradients of `function()`, a scalar tensor, with respect to Keras variables."""
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


def train_keras_models(count):
    """Trains so many models of Keras's own for one step each."""
    for _ in range(count):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.zeros((2, 1)), np.zeros((2, 1)), verbose=0)
