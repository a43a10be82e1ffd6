"""Training on several devices, each with its part of every batch."""

import functools
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext

import keras
import numpy as np

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.optimizers import variable_value


class DataParallel:
    """Trains a copy of a model on several devices, with Keras's own engines.

    The model itself stays an ordinary one on one device: the copy hands its state back after every
    epoch, for validation, images and the final file.
    """

    # Under TensorFlow that is `tf.distribute.MirroredStrategy`, under JAX
    # `keras.distribution.DataParallel`. The sum of the gradients over the devices is the gradient
    # of the whole batch, so without dropout the result is that of one device up to rounding.
    # (Dropout masks differ from those of one device; under TensorFlow every device has the same
    # ones for its part.)

    def __init__(self, devices: int):
        backend = keras.backend.backend()
        if backend not in ("tensorflow", "jax"):
            raise UserError(
                f"Training on several devices is not supported under {backend}. Expected "
                "KERAS_BACKEND to be one of: tensorflow, jax"
            )
        names = keras.distribution.list_devices()
        if devices > len(names):
            raise UserError(
                f"Invalid value for option `devices`. {backend} sees {len(names)} on this "
                f"machine: {', '.join(names)}. Received: devices={devices}"
            )
        names = tuple(names[:devices])
        self.num_devices = devices
        if backend == "tensorflow":
            # The model remembers the strategy under which it was made.
            self._scope, self._training = _mirrored(names).scope, nullcontext
        else:
            self._scope = self._training = keras.distribution.DataParallel(
                devices=list(names), auto_shard_dataset=False
            ).scope

    def copy(self, model: keras.Model) -> keras.Model:
        """A copy on all devices: same configuration, compiled alike, same state."""
        config = model.get_compile_config()
        if keras.backend.backend() == "tensorflow":
            config["jit_compile"] = False  # XLA and MirroredStrategy don't go together
        with self._scope():
            copy = type(model).from_config(model.get_config())
            copy.compile_from_config(config)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        copy_state(model, copy)
        return copy

    def fit(self, copy: keras.Model, batches: ImageSequence, **arguments) -> None:
        """Calls `copy.fit` on batches that can be divided."""
        with self._training():
            copy.fit(DivisibleSequence(batches, self.num_devices), **arguments)


@functools.cache
def _mirrored(names):
    # One in a process: a second one numbers its collective operations from the start again, and
    # TensorFlow takes them for those of the first, of other shapes.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"/{name.upper()}" for name in names])


def copy_state(source: keras.Model, target: keras.Model) -> None:
    """Copies weights, random states and the optimizer's variables, bit for bit."""
    pairs = zip(
        [*source.variables, *source.optimizer.variables],
        [*target.variables, *target.optimizer.variables],
        strict=True,
    )
    for old, new in pairs:
        new.assign(variable_value(old))


class OnLocalModel(keras.callbacks.Callback):
    """Brings a model up to date with its copy on several devices, then calls callbacks with it.

    They are told about epochs, not about batches. What they do (score, sample, write) needs no
    distribution, and much of it would not work with one, such as a device without an image.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model):
        super().__init__()
        self._callbacks = list(callbacks)
        self._local_model = model

    def on_train_begin(self, logs=None):
        self._local_model.stop_training = False
        for callback in self._callbacks:
            callback.set_params(self.params)
            callback.set_model(self._local_model)
        self._call("on_train_begin", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._call("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        copy_state(self.model, self._local_model)
        self._call("on_epoch_end", epoch, logs)
        self.model.stop_training |= self._local_model.stop_training

    def on_train_end(self, logs=None):
        # `fit` has averaged the weights; what a callback then restores stays.
        copy_state(self.model, self._local_model)
        self._call("on_train_end", logs)

    def _call(self, method, *arguments):
        # Not a CallbackList, which would give each its own copy of the logs: what one adds,
        # later ones and Keras's own use.
        with _without_distribution():
            for callback in self._callbacks:
                getattr(callback, method)(*arguments)


@contextmanager
def _without_distribution():
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


class DivisibleSequence(keras.utils.PyDataset):
    """Batches of an `ImageSequence` of which every device gets equally many images."""

    # A batch that cannot be divided, as the last one of an epoch often is, is filled up with
    # images of weight 0; the others then weigh so much more that the mean over all rows is the
    # mean over the images. So the gradient is that of the whole batch on one device. Metrics
    # count the filled-up batch as a whole one.
    #
    # If any batch of an epoch must be filled up, every one is a tuple of the inputs, the weights,
    # and the weights once more: the second is Keras's place for targets, which no model looks at.

    def __init__(self, batches: ImageSequence, num_devices: int):
        super().__init__()
        self.batches = batches
        self.num_devices = num_devices
        sizes = (batches.batch_size, len(batches.rows(len(batches) - 1)))
        self._weighted = any(size % num_devices for size in sizes)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        (batch,) = self.batches[index]
        count = len(batch["image"])
        filled = count + -count % self.num_devices
        rows = np.arange(filled)
        batch = {name: value[rows % count] for name, value in batch.items()}
        if not self._weighted:
            return (batch,)
        weights = np.where(rows < count, filled / count, 0).astype("float32")
        return batch, weights, weights
