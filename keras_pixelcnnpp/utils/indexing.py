"""Reads and writes entries of tensors at positions that may be traced."""

from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.utils.backend import Tensor


def look_up(table: Tensor, rows: Tensor) -> Tensor:
    """Gathers entries of the first axis by indices >= 0.

    `keras.ops.take` also supports negative indices, and costs nine TensorFlow operations.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather(table, rows)
    return keras.ops.take(table, rows, axis=0)


def read(x: Tensor, index: int | Tensor) -> Tensor:
    """Returns the entry of the first axis at an index >= 0, which may be traced."""
    if keras.backend.backend() == "tensorflow":
        return look_up(x, index)
    return keras.ops.squeeze(read_at(x, 0, index, 1), axis=0)


def read_at(x: Tensor, axis: int, start: int | Tensor, count: int) -> Tensor:
    """Returns `count` consecutive entries of an axis, from a traced position.

    `keras.ops` would read the position from the device under torch.
    """
    if keras.backend.backend() == "torch":
        return x.index_select(axis, _torch_range(start, count))
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.dynamic_slice_in_dim(x, start, count, axis)
    before, after = [0] * axis, [0] * (len(x.shape) - axis - 1)
    shape = keras.ops.shape(x)
    return keras.ops.slice(x, (*before, start, *after), (*shape[:axis], count, *shape[axis + 1 :]))


def writable_like(x: Tensor) -> Any:
    """Returns rows of the shape of `x`, which have to be written before `written` returns them.

    `write` would copy all rows of a tensor under TensorFlow, so there these are a `TensorArray`.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.TensorArray(x.dtype, x.shape[0], element_shape=x.shape[1:])
    return keras.ops.zeros_like(x)


def written(rows: Any) -> Tensor:
    """Returns the tensor of the rows of `writable_like`."""
    return rows.stack() if keras.backend.backend() == "tensorflow" else rows


def write(x: Any, start: int | Tensor, entries: Tensor) -> Any:
    """Replaces one or several entries of the first axis of `x`, from a traced position.

    `x` is a tensor, or the result of `writable_like`. Use only the result, because `x` is changed
    in place under torch.
    """
    if keras.backend.backend() == "tensorflow":
        return _write_in_tensorflow(x, start, entries)
    if len(entries.shape) < len(x.shape):
        entries = keras.ops.expand_dims(entries, 0)
    if keras.backend.backend() == "torch":
        return x.index_copy_(0, _torch_range(start, entries.shape[0]), entries)
    import jax

    return jax.lax.dynamic_update_slice_in_dim(x, entries, start, axis=0)


def _write_in_tensorflow(x: Any, start: int | Tensor, entries: Tensor) -> Any:
    import tensorflow as tf

    if isinstance(x, tf.TensorArray):
        return x.write(start, entries)
    if len(entries.shape) < len(x.shape):
        entries = entries[None]
    rows = start + np.arange(entries.shape[0], dtype="int32")[:, None]
    return tf.tensor_scatter_nd_update(x, rows, entries)


def _torch_range(start: Tensor, count: int) -> Tensor:
    return (start if count == 1 else start + keras.ops.arange(count)).long()
