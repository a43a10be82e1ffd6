"""What `fit`, `evaluate` and `predict` are given, made into the dicts that the models take."""

import itertools

import keras
import numpy as np

from keras_pixelcnnpp.checks import checked_candidates, checked_images

# Pictures for the data-dependent initialization: more would not steady the statistics.
MOST_INITIAL_PICTURES = 128


def as_inputs(data):
    """One batch, in any form that Keras's loops take, as inputs, labels and weights.

    Args:
        data: A dict of `"image"` and `"label"`, pictures alone, or a tuple of either, of labels
            and of weights: `(x,)`, `(x, y)`, `(x, y, sample_weight)`.

    Returns:
        Triple `(x, y, sample_weight)`, of which `x` is a dict that holds all labels.

    Raises:
        ValueError: If labels beside the pictures are one-hot: two columns could be candidates too.
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


def require_pictures(images, image_shape):
    """Raises a `ValueError` unless a tensor has the shape and dtype of levels, as far as known."""
    shape, dtype = tuple(images.shape), keras.backend.standardize_dtype(images.dtype)
    fits = len(shape) == 4 and all(
        size in (None, expected) for size, expected in zip(shape[1:], image_shape, strict=True)
    )
    if not fits or "int" not in dtype:
        raise ValueError(
            f"Invalid pictures. Expected integer levels of shape {(None, *image_shape)}. "
            f"Received: shape={shape}, dtype={dtype}"
        )


def checked_inputs(x, y, model, name="fit"):
    """Checks what `fit` or `evaluate` is given: arrays as a whole, anything else by a first batch.

    Args:
        x: Arrays (pictures, or a dict), a `keras.utils.PyDataset`, or an iterable of batches.
        y: Labels `(N,)` where `x` has none, or `None`.
        model: An `AutoregressiveModel`.
        name: Of the method, for errors.

    Returns:
        Triple `(x, y, first)`: what to give to Keras, and the first batch as a dict of arrays.
        For arrays, `x` is a dict, `y` the true labels (Keras forgets weights without them), and
        `first` a choice of rows at random, since arrays often lie sorted by class.

    Raises:
        ValueError: If pictures or labels don't fit the model.
    """
    if is_batched(x):
        batch, x = _peek(x, name)
        first, _, _ = as_inputs(batch)
        first = {key: np.asarray(_to_numpy(value)) for key, value in first.items()}
        return x, y, _checked_batch(first, model, name)
    if x is None:
        raise ValueError(f"`{name}` needs pictures. Received: x=None")
    inputs, _, _ = as_inputs((x, y))
    inputs = _checked_batch(inputs, model, name)
    labels = inputs.get("label")
    # An unconditional model has no labels, but Keras wants some beside weights.
    true = np.zeros(len(inputs["image"]), "int32") if labels is None else labels
    rows = np.random.default_rng(0).permutation(len(true))[:MOST_INITIAL_PICTURES]
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
    """Pictures and labels as arrays that the model takes."""
    if "image" not in inputs or not inputs.keys() <= {"image", "label"}:
        raise ValueError(
            f"Invalid input of `{name}`. Expected pictures, or a dict of 'image' and, for a model "
            "of classes, 'label', as in `model.fit({'image': images, 'label': labels})`. "
            f"Received: a dict of {', '.join(map(repr, inputs))}"
        )
    checked = {"image": checked_images(inputs["image"], model.image_shape, model.num_levels)}
    if not len(checked["image"]):
        raise ValueError(f"`{name}` needs pictures. Received: none")
    if model.num_classes:
        if inputs.get("label") is None:
            raise ValueError(
                f"`{name}` of a model of {model.num_classes} classes needs labels, as in "
                f"`model.{name}(images, labels)`. Received: none"
            )
        checked["label"] = checked_candidates(
            inputs["label"],
            len(checked["image"]),
            model.num_classes,
            model.num_labels,
            model.unlabelled_weight,
        )
    return checked


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
