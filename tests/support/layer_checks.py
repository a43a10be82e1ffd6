"""Checks that apply to every layer."""

import keras
import numpy as np
from keras import ops


def randomize(layer, seed=0, scale=0.5):
    """Sets all trainable weights to random values, so that all of them matter."""
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        value = ops.convert_to_numpy(variable)
        variable.assign(value + scale * rng.normal(size=value.shape))
    return layer


def weights_of(layer):
    """Returns the weights of a layer as float64 arrays by path."""
    return {
        variable.path.split(f"{layer.path}/")[1]: ops.convert_to_numpy(variable).astype("float64")
        for variable in layer.trainable_variables
    }


def flat_weights(layer):
    """Concatenates all weights to one vector."""
    return np.concatenate([ops.convert_to_numpy(weight).ravel() for weight in layer.weights])


def run(layer, *inputs, **call_arguments):
    """Calls a layer with arrays, or tuples of them; returns an array."""
    inputs = keras.tree.map_structure(ops.convert_to_tensor, list(inputs))
    output = layer(*inputs, **call_arguments)
    return ops.convert_to_numpy(ops.cast(output, "float32"))


def check_layer(cls, arguments, inputs, output_shape, output_dtype="bfloat16"):
    """Checks output shape, serialization and mixed precision of a layer.

    Args:
        cls: A layer class.
        arguments: Constructor arguments, a dict.
        inputs: List of the inputs of the call, arrays or tuples of them.
        output_shape: Expected shape, a tuple.
        output_dtype: Expected dtype under `mixed_bfloat16`.
    """
    layer = cls(**arguments)
    output = run(layer, *inputs)
    assert output.shape == output_shape
    assert output.dtype == np.float32
    symbols = keras.tree.map_structure(
        lambda array: keras.KerasTensor((None, *array.shape[1:]), str(array.dtype)), inputs
    )
    assert layer(*symbols).shape == (None, *output_shape[1:])

    randomize(layer)
    output = run(layer, *inputs)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    run(restored, *inputs)
    restored.set_weights(layer.get_weights())
    np.testing.assert_array_equal(run(restored, *inputs), output)

    mixed = cls(**arguments, dtype="mixed_bfloat16")
    run(mixed, *inputs)
    mixed.set_weights(layer.get_weights())
    assert {variable.dtype for variable in mixed.trainable_variables} <= {"float32"}
    # A network calls its layers with features in their compute dtype.
    tensors = [
        ops.cast(array, mixed.compute_dtype) if array.dtype.kind == "f" else array
        for array in map(ops.convert_to_numpy, inputs)
    ]
    tensor = mixed(*map(ops.convert_to_tensor, tensors))
    assert keras.backend.standardize_dtype(tensor.dtype) == output_dtype
    # bfloat16 has eight bits, and a few rounding errors add up.
    tolerance = 0.05 * np.abs(output).max()
    np.testing.assert_allclose(run(mixed, *inputs), output, atol=tolerance)
