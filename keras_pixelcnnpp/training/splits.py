"""Choosing the pictures that a model is trained on."""

import numpy as np

from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.errors import UserError


def first(split: LabelledImages, count: int | None) -> LabelledImages:
    """The first `count` pictures, all of them for `None`."""
    return split if count is None else split.take(np.arange(min(count, len(split))))


def training_pictures(
    split: LabelledImages, *, with_labels: bool, limit: int | None
) -> LabelledImages:
    """The pictures to train on.

    Args:
        split: The split `train`.
        with_labels: Drop pictures without a label.
        limit: Keep this many at most.

    Raises:
        UserError: if none is left.
    """
    chosen = first(split.labelled() if with_labels else split, limit)
    if not len(chosen):
        raise UserError("The split train has no labelled picture; there is nothing to learn from.")
    return chosen
