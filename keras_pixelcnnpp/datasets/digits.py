"""scikit-learn's handwritten digits, which come with its installation."""

import numpy as np
from sklearn.datasets import load_digits as sklearn_digits

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.datasets.splits import VALIDATION_SHARE, hold_out


def load_digits():
    """Loads scikit-learn's digits: 1797 pictures, 8×8, grey, 17 levels, ten classes.

    The split is always the same: a third of each class is `test`, a tenth of the rest `validation`.

    Returns:
        `Dataset` with the classes `"0"` to `"9"`.

    Reference:
        Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80
    """
    bunch = sklearn_digits()
    everything = LabelledImages(
        bunch.images[..., None].astype("uint8"),
        bunch.target.astype("int32"),
        tuple(f"digits/{row:06d}" for row in range(len(bunch.target))),
    )
    rest, test = hold_out(everything, 1 / 3, seed=0)
    train, validation = hold_out(rest, VALIDATION_SHARE, seed=0)
    names = tuple(str(digit) for digit in np.unique(bunch.target))
    return Dataset("digits", names, 17, {"train": train, "validation": validation, "test": test})
