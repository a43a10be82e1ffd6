"""Splitting that depends on the labels and the seed only."""

import numpy as np
from sklearn.model_selection import train_test_split

from keras_pixelcnnpp.errors import UserError

VALIDATION_SHARE = 0.1


def hold_out(split, share, seed):
    """Splits pictures in two, each class in the same proportion.

    Pictures without a label stay, unless there are no others.

    Args:
        split: `LabelledImages`.
        share: Float in (0, 1), the share of the labelled pictures that is held out.
        seed: Integer.

    Returns:
        Pair of `LabelledImages`: those that stay, and those held out. Both keep the order.

    Raises:
        UserError: If a class has too few pictures to be in both.
    """
    rows = np.flatnonzero(split.labels >= 0)
    if len(rows) == 0:
        rows = np.arange(len(split))
    try:
        _, held_out = train_test_split(
            rows, test_size=share, stratify=split.labels[rows], random_state=seed
        )
    except ValueError as error:
        raise UserError(
            f"{len(rows)} pictures are too few to hold out {share:.0%} of each class: {error}"
        ) from error
    mask = np.zeros(len(split), dtype=bool)
    mask[held_out] = True
    return split.take(~mask), split.take(mask)


def with_validation(splits, seed):
    """Returns `splits` with a validation split, and notes that say how it was made.

    Where there is none, a tenth of the training pictures becomes it.

    Args:
        splits: Dict of `LabelledImages` with the key `"train"`.
        seed: Integer.

    Returns:
        Pair of the dict, and a tuple of lines for the user.
    """
    if "validation" in splits:
        return splits, ()
    train, validation = hold_out(splits["train"], VALIDATION_SHARE, seed)
    note = (
        f"No validation split: {len(validation)} training pictures "
        f"({VALIDATION_SHARE:.0%} of each class, seed {seed}) were set aside for it."
    )
    return splits | {"train": train, "validation": validation}, (note,)
