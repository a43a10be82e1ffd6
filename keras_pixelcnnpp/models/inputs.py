"""What Keras's methods are given, checked and made into the dicts that the models take."""

import copy
import functools
import inspect
import itertools
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.backend import (
    device_name,
    full_float32,
    keep_freed_memory,
    value_if_known,
    verbosity,
)
from keras_pixelcnnpp.checks import (
    arguments_of,
    checked_images,
    checked_labels,
    require_images,
    require_integer,
)
from keras_pixelcnnpp.optimizers import keep_own_weights

# Images for the data-dependent initialization: more would not steady the statistics.
MOST_INITIAL_IMAGES = 128


class ImageModel(keras.Model):
    """A Keras model of images and labels that checks what Keras's methods are given.

    A subclass has `image_shape`, `num_classes` and `class_probabilities`, which `predict` calls.
    """

    unlabeled_weight = 0.0
    class_names = ()

    def get_config(self) -> dict:
        return {**super().get_config(), **arguments_of(self)}

    def compile_from_config(self, config: dict) -> None:
        # Keras calls its own `compile` only.
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains as `keras.Model.fit`.

        A model with weight normalization first sets its gains and biases from the first batch.

        Args:
            x: uint8 `(N, height, width, channels)`, or a dict of these as `"image"` and of
                the labels as `"label"`; or batches of either: a `tf.data.Dataset`, a
                `keras.utils.PyDataset`, a `torch.utils.data.DataLoader` or a generator.
            y: Int labels `(N,)`, where `x` doesn't hold them. With `unlabeled_weight` > 0, -1 means
                that the label isn't known.
            *args: Further arguments of `keras.Model.fit`, in its order.
            **kwargs: Further arguments of `keras.Model.fit`. `validation_data` is `(x, y)`,
                `(x, y, sample_weight)`, a dict as `x`, or batches.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: If images or labels don't fit the model. In later batches of a
                `tf.data.Dataset`, an unknown label or a value of an image that is not from 0 to 255
                raises TensorFlow's `InvalidArgumentError`.
        """
        given = inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments
        if is_batched(x) and not isinstance(x, keras.utils.PyDataset):
            given.setdefault("shuffle", False)  # Keras can't, and would warn
        given["x"], given["y"], first = checked_inputs(x, y, self)
        if given.get("validation_data") is not None:
            given["validation_data"] = checked_validation_data(given["validation_data"], self)
        self._before_training(first)
        try:
            with self._state_kept():
                return super().fit(**_without_tuning(given))
        finally:
            if keras.backend.backend() == "jax":
                keep_own_weights(self)
            self._after_training()

    @contextmanager
    def _state_kept(self):
        """Under JAX, whose steps delete the arrays they are given, an error leaves new ones."""
        try:
            yield
        finally:
            if keras.backend.backend() == "jax":
                self.jax_state_sync()

    def _after_training(self):
        """Called when `fit` ends, after an error too."""

    def _before_training(self, first):
        """Called with the first batch, a dict of arrays."""
        if "cpu" in device_name():
            keep_freed_memory()
        # Keras would build it while tracing the first step, and then trace that step again.
        self._build_optimizer()

    def _build_optimizer(self):
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.trainable_variables)

    @full_float32()
    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measures loss and metrics as `keras.Model.evaluate`.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            *args: Further arguments of `keras.Model.evaluate`, in its order.
            **kwargs: Further arguments of `keras.Model.evaluate`.

        Raises:
            ValueError: As `fit`.
        """
        if not self.compiled:  # which Keras doesn't look at under torch
            raise ValueError("You must call `compile()` before using the model.")
        given = inspect.signature(super().evaluate).bind(x, y, *args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        # Not of `fit`, which has checked its `validation_data` and may have begun to read it.
        if not given.get("_use_cached_eval_dataset"):
            given["x"], given["y"], _ = checked_inputs(x, y, self, "evaluate")
            given = _without_tuning({**given, "shuffle": False})
            given.pop("shuffle")
        with self._state_kept():
            return super().evaluate(**given)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains on one batch, as `keras.Model` does; arguments and errors are those of `fit`."""
        x, y, first = checked_inputs(x, y, self, "train_on_batch")
        self._before_training(first)
        return super().train_on_batch(x, y, *args, **kwargs)

    @full_float32()
    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measures one batch, as `keras.Model` does; arguments and errors are those of `fit`."""
        x, y, _ = checked_inputs(x, y, self, "test_on_batch")
        return super().test_on_batch(x, y, *args, **kwargs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> np.ndarray:
        """Class probabilities of images, as `keras.Model.predict`.

        Args:
            x: As in `fit`; labels are ignored.
            batch_size: Integer, images at a time, of arrays; by default 32.
            verbose: As in `keras.Model.predict`, and so the others.
            steps: Integer, so many batches; `None` for all.
            callbacks: Keras callbacks.

        Returns:
            Float32 array `(N, num_classes)`; rows sum to 1.

        Raises:
            ValueError: If the images don't fit the model, or it knows no classes.
        """
        size = 32 if batch_size is None else batch_size
        if not is_batched(x):
            require_integer("batch_size", size)
            images = _images_to_predict(np.asarray(x) if isinstance(x, list) else x, self)
            starts = range(0, max(1, len(images)), size)
            x = [images[start : start + size] for start in starts]
        # Not by Keras's own loop, which isn't for several threads.
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_progbar=True,
            model=self,
            epochs=1,
            steps=steps or (len(x) if isinstance(x, list) else None),
            verbose=verbosity(verbose, len(x) if isinstance(x, list) else 2),
        )
        callbacks.on_predict_begin()
        probabilities = []
        for step, batch in enumerate(itertools.islice(x, steps)):
            callbacks.on_predict_batch_begin(step)
            images = _images_to_predict(batch, self)
            probabilities.append(self.class_probabilities(images, max(size, len(images))))
            callbacks.on_predict_batch_end(step, {"outputs": probabilities[-1]})
        callbacks.on_predict_end()
        return np.concatenate(probabilities)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """As `predict`."""
        return self.predict(x, verbose=0)


def as_inputs(data):
    """One batch, in any form that Keras's loops take, as `(x, y, sample_weight)`.

    `x` is a dict of `"image"` and, where there are labels, `"label"`. Refuses one-hot labels.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if not isinstance(x, dict):
        x = {"image": x}
    if y is not None and "label" not in x:
        x = {**x, "label": y}
    if hasattr(x.get("label"), "shape"):
        require_one_label(x["label"])
    return x, y, sample_weight


def checked_inputs(x, y, model, name="fit"):
    """Checks what `fit` or `evaluate` is given: arrays now, batches when they are read.

    Returns `(x, y, first)`: what to give to Keras, and the first batch as a dict of arrays. For
    arrays, `x` is a dict, `y` the labels (Keras forgets weights without them), and `first` a choice
    of rows at random, since arrays often lie sorted by class.
    """
    if is_batched(x):
        batch, x = _peek(x, name)
        check = functools.partial(_checked_batch, model=model, name=name, is_batch=True)
        return _with_checks(x, check, model), y, check(as_inputs(batch)[0])
    inputs, _, _ = as_inputs((x, y))
    inputs = _checked_batch(inputs, model, name)
    # An unconditional model has no labels, but Keras wants some beside weights.
    labels = inputs.get("label", np.zeros(len(inputs["image"]), "int32"))
    rows = np.random.default_rng(0).permutation(len(labels))[:MOST_INITIAL_IMAGES]
    first = {key: value[rows] for key, value in inputs.items()}
    return inputs, labels, first


def checked_validation_data(data, model):
    """`validation_data` of `fit`, checked as `x` and `y` are."""
    if is_batched(data):
        return checked_inputs(data, None, model, "validation_data")[0]
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    x, y, _ = checked_inputs(x, y, model, "validation_data")
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def _without_tuning(given):
    """What to give to `fit` or `evaluate`: under TensorFlow, arrays as `tf.data` without tuning.

    TensorFlow 2.21 tunes every pipeline, that which Keras makes of arrays included, in a thread
    that sleeps for 10 ms, 20 ms, 40 ms and so on up to a minute, and waits for that thread to wake
    when the pipeline ends.
    """
    shuffle = given.get("shuffle", True)
    of_keras = given.get("validation_split") or given.get("class_weight")
    if keras.backend.backend() != "tensorflow" or of_keras or shuffle not in (True, False):
        return given  # what Keras alone can do with arrays
    given, size = dict(given), given.get("batch_size") or 32
    validation = given.get("validation_data")
    if isinstance(validation, tuple):
        validation_size = given.pop("validation_batch_size", None) or size
        given["validation_data"] = _pipeline(validation, validation_size, False)
    if isinstance(given["x"], dict):
        given.pop("batch_size", None)
        arrays = given["x"], given.pop("y"), given.pop("sample_weight", None)
        given |= {"x": _pipeline(arrays, size, shuffle), "shuffle": False}
    return given


def _pipeline(arrays, batch_size, shuffle):
    """A `tf.data.Dataset` of batches of arrays `(x, y, sample_weight)`, which isn't tuned."""
    import tensorflow as tf

    *inputs, weight = arrays if len(arrays) == 3 else (*arrays, None)
    arrays = inputs if weight is None else [*inputs, np.asarray(weight, "float32")]
    with tf.device("CPU:0"):
        tensors = tuple(keras.tree.map_structure(tf.convert_to_tensor, arrays))

    def batch(rows):
        return keras.tree.map_structure(lambda tensor: tf.gather(tensor, rows), tensors)

    count = len(tensors[1])
    if len(tensors[-1]) != count:
        raise ValueError(
            f"Invalid value for argument `sample_weight`. Expected {count} numbers. "
            f"Received: {len(tensors[-1])}"
        )
    rows = tf.data.Dataset.range(count)
    rows = rows.shuffle(count) if shuffle else rows
    options = tf.data.Options()
    options.autotune.enabled = False
    return rows.batch(batch_size).map(batch).prefetch(1).with_options(options)


def _checked_batch(inputs, model, name, is_batch=False):
    """Images and labels as arrays that the model takes; a batch goes to it as it is."""
    inputs = {key: _to_numpy(value) for key, value in inputs.items()}
    if "image" not in inputs or not inputs.keys() <= {"image", "label"}:
        raise ValueError(
            f"Invalid input of `{name}`. Expected images, or a dict of 'image' and, for a model "
            "of classes, 'label', as in `model.fit({'image': images, 'label': labels})`. "
            f"Received: a dict of {', '.join(map(repr, inputs))}"
        )
    if is_batch:
        require_images(inputs["image"], model.image_shape)
    checked = {"image": checked_images(inputs["image"], model.image_shape)}
    if not len(checked["image"]):
        raise ValueError(f"`{name}` needs images. Received: none")
    if model.num_classes:
        if inputs.get("label") is None:
            raise ValueError(
                f"`{name}` of a model of {model.num_classes} classes needs labels, as in "
                "`model.fit(images, labels)`. Received: none"
            )
        count = len(checked["image"])
        if is_batch and np.asarray(inputs["label"]).dtype.kind in "UO":
            raise ValueError("Invalid labels. Expected integers in batches. Received: names")
        checked["label"] = checked_training_labels(inputs["label"], count, model)
    return checked


def _with_checks(x, check, model):
    """`x` with a check of each batch, on the host: no graph, and no accelerator, waits for it."""
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedBatches(x, check)
    if hasattr(x, "element_spec") and hasattr(x, "map"):  # a tf.data.Dataset
        return x.map(functools.partial(_assert_values, model))

    def checked(batch):
        check(as_inputs(batch)[0])
        return batch

    if hasattr(x, "collate_fn"):  # a DataLoader of torch's
        x, collate = copy.copy(x), x.collate_fn
        x.collate_fn = lambda rows: checked(collate(rows))
        return x
    return (checked(batch) for batch in x) if iter(x) is x else x


def _assert_values(model, *batch):
    """The batch; the pipeline refuses images and labels of values that the model doesn't know."""
    import tensorflow as tf

    ranges = {"image": (0, 255)}
    if model.num_classes:
        ranges["label"] = (-1 if model.unlabeled_weight else 0, model.num_classes - 1)
    inputs, _, _ = as_inputs(batch)
    for name, (lowest, highest) in ranges.items():
        values = inputs.get(name)  # if there are none, that is said of the first batch
        if values is not None and not lowest <= values.dtype.min <= values.dtype.max <= highest:
            message = f"Invalid {name}s. Expected integers from {lowest} to {highest}"
            values = tf.cast(values, tf.int64)
            tf.debugging.assert_greater_equal(values, tf.constant(lowest, tf.int64), message)
            tf.debugging.assert_less_equal(values, tf.constant(highest, tf.int64), message)
    return batch if len(batch) > 1 else batch[0]


class _CheckedBatches(keras.utils.PyDataset):
    """Another `PyDataset` with a check of each batch."""

    def __init__(self, batches, check):
        super().__init__(batches.workers, batches.use_multiprocessing, batches.max_queue_size)
        self.batches = batches
        self.check = check
        self.on_epoch_begin = batches.on_epoch_begin
        self.on_epoch_end = batches.on_epoch_end

    @property
    def num_batches(self):
        return self.batches.num_batches

    def __getitem__(self, index):
        batch = self.batches[index]
        self.check(as_inputs(batch)[0])
        return batch


def checked_training_labels(labels, count, model):
    """Labels `(count,)` or `(count, 1)`, integers or names of classes, as int32 `(count,)`."""
    array = np.asarray(labels)
    require_one_label(array)
    array = array.reshape(-1) if array.ndim == 2 else array
    lowest = -1 if model.unlabeled_weight else 0
    return checked_labels(array, count, model.num_classes, model.class_names, lowest)


def require_one_label(labels):
    """Raises a `ValueError` where each image has more labels than one, as one-hot labels are."""
    shape = tuple(labels.shape)
    if len(shape) > 1 and shape[1:] != (1,):
        raise ValueError(
            "Invalid labels. Expected integers of shape (N,). One-hot labels? Give "
            f"`labels.argmax(axis=1)`. Received: shape={shape}"
        )


def _images_to_predict(x, model):
    """The images, checked, of what `predict` is given or of one of its batches."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(x)
    images = x["image"] if isinstance(x, dict) else x
    return checked_images(_to_numpy(images), model.image_shape)


def require_labels(labels, model):
    """Raises a `ValueError` unless a tensor holds labels, as far as its values are known yet."""
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if not keras.backend.is_int_dtype(dtype):
        raise ValueError(f"Invalid labels. Expected integers. Received: dtype={dtype}")
    values = value_if_known(labels)
    if values is not None:
        checked_labels(values.reshape(-1), values.size, model.num_labels)


def is_batched(x):
    """Whether `x` gives batches one after the other, rather than holding all rows."""
    if isinstance(x, keras.utils.PyDataset):
        return True
    held = isinstance(x, dict | list | tuple) or hasattr(x, "shape")
    return hasattr(x, "__iter__") and not held


def _peek(x, name):
    """The first batch, and `x` with that batch still to come."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0], x
    iterator = iter(x)
    batch = next(iterator, None)
    if batch is None:
        raise ValueError(f"Invalid input of `{name}`. Expected at least one batch. Received: none")
    if iterator is x:  # a generator, which Keras goes through once
        return batch, itertools.chain([batch], iterator)
    return batch, x


def _to_numpy(value):
    return keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value
