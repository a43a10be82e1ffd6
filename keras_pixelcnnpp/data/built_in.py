"""CIFAR-10, which Keras downloads on first use."""

import keras
import numpy as np
from sklearn.datasets import load_digits as sklearn_digits

from keras_pixelcnnpp.data.dataset import (
    VALIDATION_SHARE,
    Dataset,
    LabelledImages,
    hold_out,
    with_validation,
)
from keras_pixelcnnpp.errors import UserError

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def load_cifar10(seed=0):
    """Loads CIFAR-10: 60,000 pictures, 32×32×3, ten classes.

    A tenth of the 50,000 training pictures becomes `validation`.

    Args:
        seed: Integer, chooses the pictures of the validation split.

    Returns:
        `Dataset` with 256 levels.

    Raises:
        UserError: If the data can't be downloaded.

    Reference:
        Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
    """
    try:
        train, test = keras.datasets.cifar10.load_data()
    # Anything: the network, the disk, the archive.
    except Exception as error:
        raise UserError(f"CIFAR-10 cannot be downloaded: {' '.join(str(error).split())}") from error
    splits, notes = with_validation(
        {"train": _split(train, "train"), "test": _split(test, "test")}, seed
    )
    return Dataset("cifar10", CLASS_NAMES, 256, splits, notes)


def _split(arrays, name):
    images, labels = arrays
    paths = tuple(f"cifar10/{name}/{row:06d}" for row in range(len(images)))
    return LabelledImages(images, labels.reshape(-1).astype("int32"), paths)


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
