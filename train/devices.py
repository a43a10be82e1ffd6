"""Training on several devices, of one machine or of several, each with its part of every batch."""

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
    """How many devices share a batch, and which of how many processes this is, counted from 0."""

    count: int
    process: int = 0
    num_processes: int = 1
    may_jit_compile: bool = True


@contextmanager
def on_devices(count: int | None) -> Iterator[Devices | None]:
    """Within, models are made and trained on several devices; gives `None` for a single one.

    Under JAX by `keras.distribution.DataParallel`, under TensorFlow by
    `tf.distribute.MirroredStrategy`. Where the environment variables of
    `keras.distribution.initialize` name several processes, this joins them first, and the devices
    are those of all.
    """
    # The sum of the gradients over the devices is the gradient of the whole batch, so without
    # dropout the result is that of one device up to rounding. (Dropout masks differ from those of
    # one device; under TensorFlow every device has the same ones for its part.)
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
            f"{len(names)}, the number that {backend} sees. Received: devices={count}"
        )
    return tuple(names[:count])


@functools.cache
def _mirrored(names: tuple[str, ...]) -> Any:
    # One in a process: a second one numbers its collective operations from the start again, and
    # TensorFlow takes them for those of the first, of other shapes.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"/{name.upper()}" for name in names])


@contextmanager
def own_folder(run: Path, devices: Devices | None) -> Iterator[Path]:
    """The folder that this process writes a run into: for the first of the processes, `run`.

    The others have a temporary copy and print nothing, but compute the same: a program on the
    devices of several processes runs in all of them.
    """
    if devices is None or devices.process == 0:
        largest(0)
        yield run
        return
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        copy = Path(folder, "run")
        if run.exists():
            shutil.copytree(run, copy)
        largest(0)  # the first process must not change the run before
        with redirect_stdout(nowhere):
            yield copy


def largest(number: int) -> int:
    """The largest of the numbers with which the processes call this; each waits for all."""
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.num_processes == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.array(number)).max())


class DivisibleSequence(keras.utils.PyDataset):
    """The part of a process of each batch of an `ImageBatches`: equally many images per device."""

    # A batch that cannot be divided, as the last one of an epoch often is, is filled up with
    # images of weight 0; the others then weigh so much more that the mean over all rows is the
    # mean over the images. So the gradient is that of the whole batch on one device. Metrics
    # count the filled-up batch as a whole one. If any batch of an epoch must be filled up, every
    # one has weights.

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
