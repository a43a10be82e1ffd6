"""Data-parallel training on several devices of one machine."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from keras_pixelcnnpp.errors import UserError


@contextmanager
def on_devices(count: int | None) -> Iterator[int]:
    """Context in which models are created and trained on several devices.

    It uses `keras.distribution.DataParallel` under JAX and `tf.distribute.MirroredStrategy` under
    TensorFlow. Yields the number of devices.
    """
    # The gradients of the devices add up to the gradient of the whole batch, so without dropout the
    # result is that of one device up to rounding. (Dropout masks differ from those of one device;
    # under TensorFlow, all devices have the same masks.)
    count = count or 1
    if count == 1:
        yield count
        return
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise UserError(
            f"Training on several devices is not supported under {backend}. Expected "
            "KERAS_BACKEND to be one of: tensorflow, jax"
        )
    names = tuple(keras.distribution.list_devices())
    if count > len(names):
        raise UserError(
            f"Invalid value for option `devices`. Expected at most {len(names)}, the number of "
            f"devices under {backend}. Received: devices={count}"
        )
    if backend == "tensorflow":
        scope = _mirrored(names[:count]).scope()
    else:
        devices = list(names[:count])
        scope = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope()
    with scope:
        yield count


@functools.cache
def _mirrored(names: tuple[str, ...]) -> Any:
    # Only one per process: a second strategy would number its collective operations from the start
    # again, and TensorFlow would mistake them for those of the first.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"/{name.upper()}" for name in names])
