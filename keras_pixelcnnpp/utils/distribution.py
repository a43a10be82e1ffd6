"""Training on all devices, of one process or of several, by means of Keras and the backend."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.utils.backend import Nest, Tensor
from keras_pixelcnnpp.utils.errors import UserError, is_out_of_memory, one_line, say

# A process that lost its machine is noticed after this time. The computation cannot delay the
# signs of life, which come from a thread of the backend.
SECONDS_WITHOUT_SIGN_OF_LIFE = 30


@contextmanager
def all_devices() -> Iterator[None]:
    """Context manager in which models are created and trained on all devices of the backend.

    Each batch is divided between the devices. Enter it before the first computation, and create,
    compile and train the model inside. Under JAX, the devices may be those of several processes,
    which all run the same program. Its launcher, such as `srun`, is recognized by
    `jax.distributed.initialize`; without a launcher, set Keras's variables
    `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES`, and
    `KERAS_DISTRIBUTION_PROCESS_ID`.

    Raises:
        UserError: If Keras cannot train on several devices under the backend, or the processes
            cannot connect.

    Example:

    ```python
    with all_devices():
        model = kp.PixelCNNPlusPlus((32, 32, 3), num_classes=4)
        model.compile("adam")
        model.fit(batches, epochs=10, shuffle=False)
    ```
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        _require_one_worker()
        scope = _mirrored().scope()
    elif name == "jax":
        _connect()
        scope = _whole_batches().scope()
    else:
        raise UserError(
            f"Keras's `fit` uses one device under {name}, so training cannot be distributed. "
            "Expected KERAS_BACKEND to be one of: tensorflow, jax"
        )
    with scope:
        yield


def num_devices() -> int:
    """Returns the number of devices between which each batch is divided."""
    distribution = keras.distribution.distribution()
    if distribution is not None:
        return distribution.device_mesh.devices.size
    return _num_replicas()


def num_processes() -> int:
    """Returns the number of processes that train a model together."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.num_processes


def is_first_process() -> bool:
    """Returns whether this process writes the files of a training. It is the only one, or first."""
    if num_processes() == 1:
        return True
    import jax

    return jax.process_index() == 0


def wait_for_all() -> None:
    """Waits until all processes have come to this call."""
    if num_processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("keras_pixelcnnpp")


def largest_of_processes(number: int) -> int:
    """Returns the largest of the numbers that the processes pass, which all wait for it."""
    if num_processes() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.int32(number)).max())


@contextmanager
def leaving_lost_processes() -> Iterator[None]:
    """Context manager that ends this process, with a message, if another one was lost."""
    try:
        yield
    except Exception as error:
        is_of_backend = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
        if num_processes() == 1 or not is_of_backend or is_out_of_memory(error):
            raise
        say(
            "pixelcnnpp: error: Another process of the training has stopped, or cannot be reached. "
            "See its own messages, and repeat the command in all processes with --resume. "
            f"({one_line(error)})",
            error=True,
        )
        sys.stderr.flush()
        # At a usual end, JAX would wait for the lost process, and then abort this one.
        os._exit(2)


def divided(batch: Nest) -> Nest:
    """Divides the rows of a batch between the devices, inside a compiled step of JAX.

    XLA pads a batch whose size is not a multiple of the number of devices, and leaves the padding
    out of all sums, so that the results are those of one device.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return batch

    def layout(tensor: Tensor) -> Tensor:
        axes = [distribution.batch_dim_name, *[None] * (len(tensor.shape) - 1)]
        rows = keras.distribution.TensorLayout(axes, distribution.device_mesh)
        return keras.distribution.distribute_tensor(tensor, rows)

    return keras.tree.map_structure(lambda x: x if x is None else layout(x), batch)


def has_replicas() -> bool:
    """Returns whether each device sees only its rows of a batch, as replicas of TensorFlow do."""
    return _num_replicas() > 1


def share_of_batch(count: int | Tensor) -> Tensor:
    """Returns the weight of the mean over the `count` rows that a replica of TensorFlow sees.

    The mean of the weighted means is the mean over the batch. The weight is 1 if all replicas see
    equally many rows.
    """
    import tensorflow as tf

    replica, count = tf.distribute.get_replica_context(), tf.cast(count, "float32")
    total = replica.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return count * replica.num_replicas_in_sync / total


def _num_replicas() -> int:
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


@cache
def _mirrored() -> Any:
    # Only one per process: a second strategy would number its collective operations from the start
    # again, and TensorFlow would mistake them for those of the first.
    import tensorflow as tf

    class Mirrored(tf.distribute.MirroredStrategy):
        # `fit` reduces its first batch to learn the shapes, which fails if the replicas have
        # different numbers of rows.
        def reduce(self, reduce_op: Any, value: Any, axis: int | None) -> Any:
            if isinstance(value, tuple):
                first = [self.experimental_local_results(part)[0] for part in value]
                return tuple(first)
            return super().reduce(reduce_op, value, axis)

    return Mirrored([f"/{name.upper()}" for name in keras.distribution.list_devices()])


def _require_one_worker() -> None:
    if "TF_CONFIG" in os.environ:
        raise UserError(
            "Keras's `fit` fails with several processes under TensorFlow, that is, with "
            "`MultiWorkerMirroredStrategy` (https://github.com/keras-team/keras/issues/20585). "
            "Expected KERAS_BACKEND=jax, or no variable TF_CONFIG. "
            f"Received: TF_CONFIG={os.environ['TF_CONFIG']:.200}"
        )


def _whole_batches() -> Any:
    """Returns Keras's data parallelism, for batches that all processes have as a whole."""

    class WholeBatches(keras.distribution.DataParallel):
        # Keras would divide each batch before the step, but JAX takes no array from outside whose
        # rows are not a multiple of the number of devices. `divided` divides it in the step.
        def get_data_layout(self, data_shape: tuple[int, ...]) -> Any:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    return WholeBatches(auto_shard_dataset=False)


def _connect() -> None:
    """Connects the processes that a launcher has started, if there is one."""
    import jax

    if jax.distributed.is_initialized():
        return
    addresses, count, index = map(_keras_variable, ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
    is_given = addresses is not None
    try:
        # `keras.distribution.initialize` reads the same variables, but waits longer for a process
        # that is lost.
        jax.distributed.initialize(
            addresses.split(",")[0] if is_given else None,
            None if count is None else int(count),
            None if index is None else int(index),
            heartbeat_timeout_seconds=SECONDS_WITHOUT_SIGN_OF_LIFE,
            # At its end, a process would wait five minutes for one that was lost.
            shutdown_timeout_seconds=SECONDS_WITHOUT_SIGN_OF_LIFE,
        )
    except (RuntimeError, ValueError) as error:
        if not is_given and re.search("coordinator_address|must be called before", str(error)):
            return  # no launcher, or too late to ask for one
        raise UserError(f"The processes could not be connected: {one_line(error)}") from error


def _keras_variable(name: str) -> str | None:
    return os.environ.get(f"KERAS_DISTRIBUTION_{name}")
