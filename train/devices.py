"""Data-parallel training on several devices of one or several machines."""

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.errors import UserError


class Devices(NamedTuple):
    """Number of devices that share a batch, and the index of this process among all processes."""

    count: int
    process: int = 0
    num_processes: int = 1
    may_jit_compile: bool = True


@contextmanager
def on_devices(count: int | None) -> Iterator[Devices | None]:
    """Context in which models are created and trained on several devices.

    It uses `keras.distribution.DataParallel` under JAX and `tf.distribute.MirroredStrategy` under
    TensorFlow. If the environment variables of `keras.distribution.initialize` name several
    processes, it joins them first and uses the devices of all. Yields `None` for a single device.
    """
    # The gradients of the devices add up to the gradient of the whole batch, so without dropout the
    # result is that of one device up to rounding. (Dropout masks differ from those of one device;
    # under TensorFlow, all devices have the same masks.)
    several = "KERAS_DISTRIBUTION_JOB_ADDRESSES" in os.environ
    if count in (None, 1) and not several:
        yield None
        return
    names = _device_names(count, several)
    if keras.backend.backend() == "tensorflow":
        with _mirrored(names).scope():
            yield Devices(len(names), may_jit_compile=False)  # XLA can't compile the strategy
        return
    distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
    with distribution.scope():
        yield Devices(len(names), distribution.data_shard_id, distribution.num_processes)


def _device_names(count: int | None, several: bool) -> tuple[str, ...]:
    backend = keras.backend.backend()
    supported = ("jax",) if several else ("tensorflow", "jax")
    if backend not in supported:
        raise UserError(
            f"Training {'in several processes' if several else 'on several devices'} is "
            f"not supported under {backend}. Expected KERAS_BACKEND to be one of: "
            f"{', '.join(supported)}"
        )
    if several:
        keras.distribution.initialize()
    names = keras.distribution.list_devices()
    lowest = len(names) if several else 1
    if count is not None and not lowest <= count <= len(names):
        raise UserError(
            f"Invalid value for option `devices`. Expected {'' if several else 'at most '}"
            f"{len(names)}, the number of devices under {backend}. Received: devices={count}"
        )
    return tuple(names[:count])


@functools.cache
def _mirrored(names: tuple[str, ...]) -> Any:
    # Only one per process: a second strategy would number its collective operations from the start
    # again, and TensorFlow would mistake them for those of the first.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"/{name.upper()}" for name in names])


@contextmanager
def own_folder(run: Path, devices: Devices | None) -> Iterator[Path]:
    """Yields the folder that this process writes its run to.

    The first process uses `run`. The others run the same program, as JAX requires, but write to a
    temporary copy and print nothing.
    """
    if devices is None or devices.process == 0:
        largest(0)
        yield run
        return
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        copy = Path(folder, "run")
        if run.exists():
            shutil.copytree(run, copy)
        largest(0)  # the first process waits here until the run has been copied
        with redirect_stdout(nowhere):
            yield copy


def largest(number: int) -> int:
    """Returns the largest `number` of all processes, each of which must call this function."""
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.num_processes == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.array(number)).max())


class DivisibleSequence(keras.utils.PyDataset):
    """This process's share of each batch of an `ImageBatches`, padded to divide among devices."""

    # A batch that cannot be divided, such as the last one of an epoch, is padded with images of
    # weight 0. The weights of the other images are increased so that the mean over all rows equals
    # the mean over the images; the gradient is then that of the whole batch on one device. Metrics
    # count a padded batch as a full one. If any batch needs padding, all batches have weights.

    def __init__(self, batches: ImageBatches, devices: Devices):
        super().__init__()
        self.batches = batches
        self.devices = devices
        sizes = (batches.batch_size, len(batches.rows(len(batches) - 1)))
        self._weighted = any(size % devices.count for size in sizes)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        images, labels = self.batches[index]
        count = len(images)
        filled = count + -count % self.devices.count
        rows = np.split(np.arange(filled), self.devices.num_processes)[self.devices.process]
        batch = images[rows % count], labels[rows % count]
        weights = np.where(rows < count, filled / count, 0).astype("float32")
        return (*batch, weights) if self._weighted else batch
