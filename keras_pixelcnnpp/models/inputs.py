"""What `fit`, `evaluate` and `predict` are given, made into the dicts that the models take."""

import itertools

import keras
import numpy as np

from keras_pixelcnnpp.checks import checked_images, checked_labels

# Images for the data-dependent initialization: more would not steady the statistics.
MOST_INITIAL_IMAGES = 128


def as_inputs(data):
    """One batch, in any form that Keras's loops take, as inputs, labels and weights.

    `data` is a dict of `"image"` and `"label"`, images alone, or a tuple of either, of labels and
    of weights. Of the returned `(x, y, sample_weight)`, `x` is a dict that holds all labels.

    Raises:
        ValueError: If labels are one-hot.
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
    """Checks what `fit` or `evaluate` is given: arrays as a whole, anything else by a first batch.

    Returns:
        Triple `(x, y, first)`: what to give to Keras, and the first batch as a dict of arrays.
        For arrays, `x` is a dict, `y` the labels (Keras forgets weights without them), and `first`
        a choice of rows at random, since arrays often lie sorted by class.

    Raises:
        ValueError: If images or labels don't fit the model.
    """
    if is_batched(x):
        batch, x = _peek(x, name)
        first, _, _ = as_inputs(batch)
        first = {key: np.asarray(_to_numpy(value)) for key, value in first.items()}
        return x, y, _checked_batch(first, model, name)
    if x is None:
        raise ValueError(f"`{name}` needs images. Received: x=None")
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


def _checked_batch(inputs, model, name):
    """Images and labels as arrays that the model takes."""
    if "image" not in inputs or not inputs.keys() <= {"image", "label"}:
        raise ValueError(
            f"Invalid input of `{name}`. Expected images, or a dict of 'image' and, for a model "
            "of classes, 'label', as in `model.fit({'image': images, 'label': labels})`. "
            f"Received: a dict of {', '.join(map(repr, inputs))}"
        )
    checked = {"image": checked_images(inputs["image"], model.image_shape)}
    if not len(checked["image"]):
        raise ValueError(f"`{name}` needs images. Received: none")
    if model.num_classes:
        if inputs.get("label") is None:
            raise ValueError(
                f"`{name}` of a model of {model.num_classes} classes needs labels, as in "
                f"`model.{name}(images, labels)`. Received: none"
            )
        count = len(checked["image"])
        checked["label"] = checked_training_labels(inputs["label"], count, model)
    return checked


def checked_training_labels(labels, count, model):
    """Returns labels `(count,)` or `(count, 1)` as an int32 array `(count,)`.

    Raises:
        ValueError: If they aren't classes, or -1 where the model learns from unlabeled images.
    """
    array = np.asarray(labels)
    require_one_label(array)
    array = array.reshape(-1) if array.ndim == 2 else array
    if not model.unlabeled_weight:
        return checked_labels(array, count, model.num_classes)
    unlabeled = array == -1
    return np.where(
        unlabeled, -1, checked_labels(np.where(unlabeled, 0, array), count, model.num_classes)
    )


def require_one_label(labels):
    """Raises a `ValueError` where each image has more labels than one, as one-hot labels are."""
    shape = tuple(labels.shape)
    if len(shape) > 1 and shape[1:] != (1,):
        raise ValueError(
            "Invalid labels. Expected integers of shape (N,). One-hot labels? Give "
            f"`labels.argmax(axis=1)`. Received: shape={shape}"
        )


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
    if iterator is x:  # a generator: Keras takes those only, and goes through it once
        return batch, (item for item in itertools.chain([batch], iterator))
    return batch, x


def _to_numpy(value):
    return keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value
