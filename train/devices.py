"""Where a model trains: on one device, or on several, each with its part of every batch."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import keras

from keras_pixelcnnpp.data.batches import ImageSequence, feed
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.train.checkpoints import Checkpoints
from keras_pixelcnnpp.train.stopping import StopOnSignal
from keras_pixelcnnpp.train.workers import Cluster, ShardedSequence


class OneDevice:
    """What `DataParallel` is, for a model that trains where it is."""

    is_chief = True
    signals = StopOnSignal.SIGNALS

    def describe(self) -> str:
        """Nothing to add."""
        return ""

    def check_batch_size(self, batch_size: int) -> None:
        """Any will do."""

    def checkpoints(self, checkpoints: Checkpoints) -> Checkpoints:
        """The same."""
        return checkpoints

    def copy(self, model: keras.Model) -> keras.Model:
        """The model itself."""
        return model

    def callbacks(self, callbacks, model, copy) -> list[keras.callbacks.Callback]:
        """The same."""
        return list(callbacks)

    def fit(self, copy: keras.Model, batches: ImageSequence, **arguments) -> None:
        """Calls `copy.fit`."""
        copy.fit(feed(batches), **arguments)

    def hand_back(self, copy: keras.Model, model: keras.Model) -> None:
        """Nothing to do."""

    def wait(self) -> None:
        """For nobody."""


class DataParallel:
    """Trains a copy of a model on several devices, with Keras's own engines.

    The model itself stays an ordinary one on one device: the copy hands its state back after every
    epoch, for validation, pictures and the final file.
    """

    # Under TensorFlow that is `tf.distribute.MirroredStrategy`, under JAX
    # `keras.distribution.DataParallel`; there the devices may belong to several processes. The sum
    # of the gradients over the devices is the gradient of the whole batch, so without dropout the
    # result is that of one device up to rounding. (Dropout masks differ from those of one device;
    # under TensorFlow every device has the same ones for its part.)

    def __init__(self, devices: int | None = None, cluster: Cluster | None = None):
        self.cluster = cluster
        backend = keras.backend.backend()
        if backend not in _ENGINES:
            raise UserError(
                f"Training on several devices is not supported under {backend}. Expected "
                f"KERAS_BACKEND to be one of: {', '.join(_ENGINES)}"
            )
        names = keras.distribution.list_devices()
        if cluster is not None and devices is not None:
            raise UserError(
                "Several workers use all of their devices: give `devices` or `workers`, not both."
            )
        if cluster is None:
            devices = 1 if devices is None else devices
            if devices > len(names):
                raise UserError(
                    f"Invalid value for option `devices`. {backend} sees {len(names)} on this "
                    f"machine: {', '.join(names)}. Received: devices={devices}"
                )
            names = names[:devices]
        self.num_devices = len(names)
        self._engine = _ENGINES[backend](names)

    @property
    def signals(self) -> tuple[int, ...]:
        """The signals that end the training in good order; none, where others would go on."""
        return StopOnSignal.SIGNALS if self.cluster is None else ()

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.cluster is None or self.cluster.index == 0

    def describe(self) -> str:
        """How many devices, of how many workers, as the end of a line."""
        workers = "" if self.cluster is None else f" of {len(self.cluster.workers)} workers"
        return f", {self.num_devices} devices{workers}"

    def check_batch_size(self, batch_size: int) -> None:
        """Raises a `UserError` unless every device gets equally many pictures of a batch."""
        if batch_size % self.num_devices:
            raise UserError(
                "Invalid value for option `batch_size`. Expected a multiple of the number of "
                f"devices, {self.num_devices}. Received: batch_size={batch_size}"
            )

    def copy(self, model: keras.Model) -> keras.Model:
        """A copy on all devices: same configuration, compiled alike, same state."""
        config = model.get_compile_config()
        if keras.backend.backend() == "tensorflow":
            config["jit_compile"] = False  # XLA and MirroredStrategy don't go together
        with self._engine.scope():
            copy = type(model).from_config(model.get_config())
            copy.compile_from_config(config)
            if not copy.optimizer.built:
                copy.optimizer.build(copy.trainable_variables)
        copy_state(model, copy)
        return copy

    def checkpoints(self, checkpoints: Checkpoints) -> Checkpoints:
        """The same checkpoints; only the chief can write them."""
        return checkpoints if self.is_chief else _ReadOnlyCheckpoints(checkpoints.folder)

    def batches(self, batches: ImageSequence) -> ShardedSequence:
        """This worker's part of each batch."""
        shard, num_shards = (
            (0, 1) if self.cluster is None else (self.cluster.index, len(self.cluster.workers))
        )
        return ShardedSequence(batches, self.num_devices, shard, num_shards)

    def callbacks(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        copy: keras.Model,
    ) -> list[keras.callbacks.Callback]:
        """Those for the training of `copy`; they call `callbacks` with `model`.

        Only the chief calls them: they measure and write.
        """
        if not self.is_chief:
            return []
        update = functools.partial(copy_state, copy, model)
        return [OnLocalModel(callbacks, model, update, self._engine.suspended)]

    def fit(self, copy: keras.Model, batches: ImageSequence, **arguments) -> None:
        """Calls `copy.fit` on this worker's part of each batch."""
        with self._engine.training():
            copy.fit(self.batches(batches), **arguments)

    def hand_back(self, copy: keras.Model, model: keras.Model) -> None:
        """Gives the model the state of its copy."""
        copy_state(copy, model)

    def wait(self) -> None:
        """Waits until every worker has come to this point."""
        if self.cluster is not None:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("keras_pixelcnnpp")


def copy_state(source: keras.Model, target: keras.Model) -> None:
    """Copies weights, random states and the optimizer's variables, bit for bit."""
    if not target.optimizer.built:
        target.optimizer.build(target.trainable_variables)
    if not source.optimizer.built:
        source.optimizer.build(source.trainable_variables)
    pairs = zip(
        [*source.variables, *source.optimizer.variables],
        [*target.variables, *target.optimizer.variables],
        strict=True,
    )
    for old, new in pairs:
        new.assign(variable_value(old))


class _ReadOnlyCheckpoints(Checkpoints):
    def save(self, model, progress):
        pass

    def clear(self):
        pass


class _Mirrored:
    """`tf.distribute`: the model remembers the strategy under which it was made."""

    def __init__(self, names: Sequence[str]):
        self._strategy = _strategy(tuple(names))

    def scope(self):
        return self._strategy.scope()

    @contextmanager
    def training(self) -> Iterator[None]:
        yield

    suspended = training


@functools.cache
def _strategy(names: tuple[str, ...]):
    # One in a process: a second one numbers its collective operations from the start again, and
    # TensorFlow takes them for those of the first, of other shapes.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"/{name.upper()}" for name in names])


class _KerasDistribution:
    """`keras.distribution`: what is set while a model is made and while it is trained."""

    def __init__(self, names: Sequence[str]):
        self._distribution = keras.distribution.DataParallel(
            devices=list(names),
            auto_shard_dataset=False,  # ShardedSequence does it
        )

    def scope(self):
        return self._distribution.scope()

    training = scope

    @contextmanager
    def suspended(self) -> Iterator[None]:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)


_ENGINES = {"tensorflow": _Mirrored, "jax": _KerasDistribution}


class OnLocalModel(keras.callbacks.Callback):
    """Brings a model up to date at the end of every epoch, then calls other callbacks with it.

    They are told about epochs, not about batches.
    """

    # What they do (score, sample, write) needs no distribution, and much of it would not work with
    # one: a device without a picture, or an array of which this process has only a part.

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        update: Callable[[], None],
        local: Callable[[], AbstractContextManager],
    ):
        super().__init__()
        self._callbacks = list(callbacks)
        self._local_model = model
        self._update = update
        self._local = local

    def set_params(self, params):
        """Called by Keras."""
        super().set_params(params)
        for callback in self._callbacks:
            callback.set_params(params)

    def set_model(self, model):
        """Called by Keras, with the model that is trained."""
        super().set_model(model)
        for callback in self._callbacks:
            callback.set_model(self._local_model)

    def on_train_begin(self, logs=None):
        """Called by Keras."""
        self._local_model.stop_training = False
        self._call("on_train_begin", logs)

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._call("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        self._update()
        self._call("on_epoch_end", epoch, logs)
        if self._local_model.stop_training:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        """Called by Keras."""
        self._call("on_train_end", logs)

    def _call(self, method, *arguments):
        # Not a CallbackList, which would give each its own copy of the logs: what one adds,
        # later ones and Keras's own use.
        with self._local():
            for callback in self._callbacks:
                getattr(callback, method)(*arguments)


Devices = OneDevice | DataParallel


def find_devices(devices: int | None, workers: str | None, worker: int | None) -> Devices:
    """The devices that share the work. Connects this process with other workers."""
    cluster = Cluster.find(workers, worker)
    if cluster is not None:
        cluster.join()
    if cluster is None and devices in (None, 1):
        return OneDevice()
    return DataParallel(devices, cluster)
