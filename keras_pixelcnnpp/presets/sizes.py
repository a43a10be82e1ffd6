"""Compares the size of a model with that of its file of weights, before the model is created."""

import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import h5py
import keras

from keras_pixelcnnpp.utils.errors import UserError


def require_weights(make: Callable[[], keras.Model], weights: str | IO[bytes]) -> None:
    """Raises a `UserError` if an HDF5 file has fewer numbers than a model has parameters.

    The model that `make` would create allocates no memory here, so that a configuration of a few
    bytes cannot fill it.
    """
    expected, received = num_parameters(make), num_stored(weights)
    if expected > received:
        raise UserError(
            f"expected the weights of a model of {expected:,} parameters. Received: a file of "
            f"{received:,} numbers"
        )


def num_parameters(make: Callable[[], keras.Model]) -> int:
    """Returns the number of parameters of the model that `make` would create."""

    def count() -> int:
        # In this scope, variables have a shape, and get values only afterwards.
        with keras.StatelessScope(initialize_variables=False):
            return sum(math.prod(weight.shape) for weight in make().weights)

    # A thread has its own state of Keras, in which names are counted and the variables wait.
    state = random.getstate()  # Keras draws the seeds of dropout layers from it.
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(count).result()
    finally:
        random.setstate(state)


def num_stored(weights: str | IO[bytes]) -> int:
    """Returns how many numbers are in the arrays of an HDF5 file.

    Raises a `UserError` for an array that takes less space in the file than in memory.
    """
    sizes = []

    def add(name: str, entry: h5py.HLObject) -> None:
        if not isinstance(entry, h5py.Dataset) or entry.shape is None:
            return
        stored = entry.id.get_storage_size()
        if entry.nbytes > stored:
            raise UserError(f"{name} has {entry.nbytes:,} bytes, of which {stored:,} are stored")
        sizes.append(entry.size)

    with h5py.File(weights, "r") as file:
        file.visititems(add)
    return sum(sizes)
