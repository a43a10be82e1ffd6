"""Choosing the pictures that a model is trained and measured on."""

import numpy as np

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.errors import UserError


def first(split: LabelledImages, count: int | None) -> LabelledImages:
    """The first `count` pictures, all of them for `None`."""
    return split if count is None else split.take(np.arange(min(count, len(split))))


def measured_pictures(dataset: Dataset, split: str, *, with_labels: bool) -> LabelledImages:
    """The pictures of a split that a model is measured on.

    Args:
        dataset: The data.
        split: The split's name.
        with_labels: Drop pictures without a label.

    Raises:
        UserError: if none is left.
    """
    pictures = dataset.split(split)
    chosen = pictures.labelled() if with_labels else pictures
    if not len(chosen):
        raise UserError(f"The split {split} has no labelled picture to measure on.")
    return chosen


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
