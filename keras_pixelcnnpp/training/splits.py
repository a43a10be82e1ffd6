"""Choosing the pictures that a model is trained and measured on."""

import numpy as np

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.errors import UserError


def some(split: LabelledImages, count: int | None, seed: int = 0) -> LabelledImages:
    """`count` pictures in the split's order, all of them for `None`.

    Chosen at random: pictures often lie sorted by class, and the first ones would be of one class.
    """
    if count is None or count >= len(split):
        return split
    chosen = np.random.default_rng(seed).permutation(len(split))[:count]
    return split.take(np.sort(chosen))


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
    split: LabelledImages, *, with_labels: bool, limit: int | None, seed: int = 0
) -> LabelledImages:
    """The pictures to train on.

    Args:
        split: The split `train`.
        with_labels: Drop pictures without a label.
        limit: Keep this many at most, chosen at random.
        seed: Of that choice.

    Raises:
        UserError: if none is left.
    """
    chosen = some(split.labelled() if with_labels else split, limit, seed)
    if not len(chosen):
        raise UserError("The split train has no labelled picture; there is nothing to learn from.")
    return chosen
