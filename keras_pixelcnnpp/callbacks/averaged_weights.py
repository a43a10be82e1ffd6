"""The moving average of the weights, put into the model for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Inside the block the model has the averaged weights of its optimizer, after it the raw ones.

    Does nothing when the optimizer keeps no average or has made no step yet.

    `keras.callbacks.SwapEMAWeights` is not used, for two reasons: it leaves the averaged weights
    in the model after `predict`, and under TensorFlow it swaps by adding and subtracting, which
    rounds the raw weights a little every time. Here both are copied, bit for bit.

    Args:
        model: A compiled model.

    Example:

    ```python
    model.compile(keras.optimizers.Adam(use_ema=True))
    model.fit(...)
    with averaged_weights(model):
        model.class_probabilities(images)
    ```
    """
    if not has_averages(model):
        yield
        return
    raw = [variable_value(variable) for variable in model.trainable_variables]
    use_averages(model)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, raw, strict=True):
            variable.assign(value)


def has_averages(model: keras.Model) -> bool:
    """Whether the model's optimizer averages weights and has made a step."""
    optimizer = inner_optimizer(model.optimizer)
    return bool(optimizer.use_ema and optimizer.built and int(optimizer.iterations) > 0)


def use_averages(model: keras.Model) -> None:
    """Puts the averaged weights, where there are any, into the model for good.

    Unlike what `fit` does at its end, as copies. Under JAX that leaves model and optimizer with the
    same arrays, of which the next step of either deletes the other's.
    """
    inner_optimizer(model.optimizer).finalize_variable_values(model.trainable_variables)
    for variable in model.trainable_variables:
        variable.assign(variable_value(variable))


def variable_value(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable's value, which later steps do not change."""
    # np.array and keras.ops.convert_to_numpy ask for a copy in a way that Keras's variables do not
    # understand yet; NumPy warns about it.
    return np.asarray(variable).copy()


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that holds the averages, without the loss scaling of `mixed_float16`."""
    return getattr(optimizer, "inner_optimizer", optimizer)
