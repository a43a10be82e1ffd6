"""A look at the first batch of whatever `fit` accepts."""

import keras

MAXIMUM = 128  # pictures; more would not steady the statistics, and cost time


def first_batch(x):
    """Returns the first inputs of `x` as a dict of arrays.

    Args:
        x: Dict of arrays, `keras.utils.PyDataset`, or an iterable that can be started again, such
            as a `tf.data.Dataset`.

    Raises:
        ValueError: If `x` is an iterator, whose first batch would be lost to training, or doesn't
            give dicts.
    """
    if not isinstance(x, dict):
        if isinstance(x, keras.utils.PyDataset):
            x = x[0]
        elif hasattr(x, "__next__") or not hasattr(x, "__iter__"):
            raise ValueError(
                "The model must see a batch before training. Call `model.initialize(images, "
                "labels)` first, or pass arrays, a PyDataset or a tf.data.Dataset to `fit`. "
                f"Received: x={x!r}"
            )
        else:
            x = next(iter(x))
        x = x[0] if isinstance(x, tuple | list) else x
    if not isinstance(x, dict) or "image" not in x:
        received = f"a dict of {', '.join(map(repr, x))}" if isinstance(x, dict) else type(x)
        raise ValueError(
            "Invalid input of `fit` or `evaluate`. Expected a dict of 'image' and, for a model of "
            "classes, 'label', as in `model.fit({'image': images, 'label': labels})`. "
            f"Received: {received}"
        )
    return {name: value[:MAXIMUM] for name, value in x.items()}
