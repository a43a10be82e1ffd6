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
        ValueError: If labels beside the images are one-hot: two columns could be candidates too.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if not isinstance(x, dict):
        x = {"image": x}
    if y is not None and "label" not in x:
        shape = tuple(getattr(y, "shape", np.shape(y)))
        if len(shape) > 1 and shape[1:] != (1,):
            raise ValueError(
                "Invalid labels. Expected integers of shape (N,). One-hot labels? Give "
                f"`labels.argmax(axis=1)`. Candidates belong into the dict. Received: shape={shape}"
            )
        x = {**x, "label": y}
    return x, y, sample_weight


def require_images(images, image_shape):
    """Raises a `ValueError` unless a tensor has the shape and dtype of levels, as far as known."""
    shape, dtype = tuple(images.shape), keras.backend.standardize_dtype(images.dtype)
    fits = len(shape) == 4 and all(
        size in (None, expected) for size, expected in zip(shape[1:], image_shape, strict=True)
    )
    if not fits or "int" not in dtype:
        raise ValueError(
            f"Invalid images. Expected integer levels of shape {(None, *image_shape)}. "
            f"Received: shape={shape}, dtype={dtype}"
        )


def checked_inputs(x, y, model, name="fit"):
    """Checks what `fit` or `evaluate` is given: arrays as a whole, anything else by a first batch.

    Returns:
        Triple `(x, y, first)`: what to give to Keras, and the first batch as a dict of arrays.
        For arrays, `x` is a dict, `y` the true labels (Keras forgets weights without them), and
        `first` a choice of rows at random, since arrays often lie sorted by class.

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
    labels = inputs.get("label")
    # An unconditional model has no labels, but Keras wants some beside weights.
    true = np.zeros(len(inputs["image"]), "int32") if labels is None else labels
    rows = np.random.default_rng(0).permutation(len(true))[:MOST_INITIAL_IMAGES]
    first = {key: value[rows] for key, value in inputs.items()}
    return inputs, true[:, 0] if true.ndim == 2 else true, first


def checked_validation_data(data, model):
    """`validation_data` of `fit`, checked as `x` and `y` are, and a first batch of it."""
    if is_batched(data):
        x, _, first = checked_inputs(data, None, model, "validation_data")
        return x, first
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    x, y, first = checked_inputs(x, y, model, "validation_data")
    return ((x, y) if sample_weight is None else (x, y, sample_weight)), first


def _checked_batch(inputs, model, name):
    """Images and labels as arrays that the model takes."""
    if "image" not in inputs or not inputs.keys() <= {"image", "label"}:
        raise ValueError(
            f"Invalid input of `{name}`. Expected images, or a dict of 'image' and, for a model "
            "of classes, 'label', as in `model.fit({'image': images, 'label': labels})`. "
            f"Received: a dict of {', '.join(map(repr, inputs))}"
        )
    checked = {"image": checked_images(inputs["image"], model.image_shape, model.num_levels)}
    if not len(checked["image"]):
        raise ValueError(f"`{name}` needs images. Received: none")
    if model.num_classes:
        if inputs.get("label") is None:
            raise ValueError(
                f"`{name}` of a model of {model.num_classes} classes needs labels, as in "
                f"`model.{name}(images, labels)`. Received: none"
            )
        checked["label"] = checked_candidates(inputs["label"], len(checked["image"]), model)
    return checked


def checked_candidates(labels, count, model):
    """Returns labels `(count,)`, or candidate labels `(count, K)`, as an int32 array.

    Where `unlabeled_weight` is above 0, the first candidate may be -1 in a row of all classes, in
    the place of class 0: none is known to be the true one.

    Raises:
        ValueError: If they aren't integers that the model knows, or no candidates.
    """
    array = candidates = np.asarray(labels)
    if array.dtype.kind == "i" and np.any(array == -1):
        candidates = np.where(array == -1, 0, array)
        if not (
            model.unlabeled_weight
            and array.ndim == 2
            and array.shape[1] == model.num_classes
            and np.all(array[:, 1:] >= 0)
            and np.all(np.sort(candidates[array[:, 0] < 0]) == np.arange(model.num_classes))
        ):
            raise ValueError(
                "Invalid value for argument `labels`. Expected integers from 0 to "
                f"{model.num_labels - 1}. -1, an image without a label, is for a model with "
                "`unlabeled_weight` above 0, with all classes as candidates: its row is -1 and "
                f"the classes 1 to {model.num_classes - 1}. Received: labels with "
                f"shape={array.shape}, unlabeled_weight={model.unlabeled_weight}"
            )
    if array.ndim != 2:
        return checked_labels(array, count, model.num_labels)
    hint = ""
    if array.shape[1] == model.num_classes and np.isin(array, (0, 1)).all():
        hint = " One-hot labels? Give `labels.argmax(axis=1)`."
    if len(array) == count and array.dtype.kind in "ui":
        checked_labels(candidates.ravel(), candidates.size, model.num_labels)
        in_order = np.sort(candidates)
        if (in_order[:, 1:] != in_order[:, :-1]).all():
            return array.astype("int32")
    raise ValueError(
        f"Invalid value for argument `labels`. Expected {count} integers, or as many rows of "
        f"candidates, the true label first, of which no two are the same label twice.{hint} "
        f"Received: labels with shape={array.shape} and dtype={array.dtype}"
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
