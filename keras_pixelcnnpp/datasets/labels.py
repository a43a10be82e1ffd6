"""Checks of labels that come from outside."""

import numpy as np

from keras_pixelcnnpp.errors import UserError


def count_classes(labels, place):
    """Returns the number of classes n, after checking that every label is from -1 to n - 1.

    The classes are those of the training split, which must have each of 0 … n - 1.

    Args:
        labels: Dict from split names to int arrays `(N,)`.
        place: Function of a split name and a row that says where that label stands.

    Raises:
        UserError: If a label is out of range; the message names the first one.
    """
    classes = np.unique(labels["train"][labels["train"] >= 0])
    count = _length_of_run(classes)
    for split, values in labels.items():
        wrong = np.flatnonzero((values < -1) | (values >= count))
        if len(wrong):
            row = int(wrong[0])
            raise UserError(
                f"{place(split, row)}: label {values[row]} is out of range; {_valid(count)}"
            )
    return count


def _length_of_run(classes):
    """How far the sorted `classes` go 0, 1, 2, … without a gap."""
    gaps = np.flatnonzero(classes != np.arange(len(classes)))
    return int(gaps[0]) if len(gaps) else len(classes)


def _valid(count):
    if count == 0:
        return "the training split has no picture of class 0 (-1 stands for unlabeled)"
    return (
        f"the training split has the classes 0 to {count - 1}, and none of class {count} "
        "(-1 stands for unlabeled)"
    )
