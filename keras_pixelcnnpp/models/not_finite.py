"""Explains losses and predictions that are not finite, for `fit`, `evaluate`, and `predict`.

A compiled step cannot say which value of a batch is wrong, so it makes the result NaN. Data that
can be read again are searched for the first batch with a wrong value.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

GENERAL = (
    "Either a batch of a stream has an image value, label, vector, or map out of range, or a "
    "vector in float32, which cannot resolve its range; or `sample_weight` is not finite; or "
    "training diverged, and needs a lower learning rate or clipped gradients"
)


class StopAtNaN(keras.callbacks.Callback):
    """Ends `fit` and `evaluate` with a `RuntimeError` if the loss is not finite.

    `fit` ends at the first batch, and `evaluate` after the last one.

    Args:
        data: What `fit` is given as `x`.
        evaluated: What `evaluate` is given as `x`, or `fit` as validation data.
    """

    def __init__(self, data: Any = None, evaluated: Any = None):
        super().__init__()
        self.data, self.evaluated = data, evaluated

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if not _is_finite(logs):
            why = cause(self.model, self.data, batch + 1)
            raise RuntimeError(f"The loss is NaN or infinite at batch {batch}. {why}")

    def on_test_end(self, logs: dict | None = None) -> None:
        if not _is_finite(logs):
            why = cause(self.model, self.evaluated)
            raise RuntimeError(f"The loss of the evaluation is NaN or infinite. {why}")


def _is_finite(logs: dict | None) -> bool:
    loss = (logs or {}).get("loss", 0.0)
    return bool(np.isfinite(ops.convert_to_numpy(loss)))


def cause(model: keras.Model, data: Any, count: int | None = None) -> str:
    """Returns why a result is not finite, as far as it is known.

    Args:
        model: An `ImageModel`.
        data: Arrays, or a stream. Only a stream that can be read again is searched.
        count: Integer, number of batches to search if they are in order; by default all.
    """
    found = (_wrong_in(model, batch) for batch in _batches(data, count))
    return next(filter(None, found), "") or GENERAL


def _batches(data: Any, count: int | None) -> Iterator[Any]:
    """Yields the first batches of a stream; all, where they are in random order."""
    if data is None or hasattr(data, "shape") or isinstance(data, Iterator):
        return
    if isinstance(data, keras.utils.PyDataset):
        for index in range(data.num_batches or count or 0):
            yield data[index]
    else:
        yield from itertools.islice(data, count)


def _wrong_in(model: keras.Model, batch: Any) -> str:
    images, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    if weight is not None and not np.isfinite(ops.convert_to_numpy(weight)).all():
        return "`sample_weight` has NaN or infinity"
    images, limit = ops.convert_to_numpy(images), model.num_values
    if images.size and not 0 <= images.min() <= images.max() < limit:
        return (
            f"Images of a batch have values from {images.min()} to {images.max()}. "
            f"Expected integers from 0 to {limit - 1}"
        )
    return model.wrong_values(y)
