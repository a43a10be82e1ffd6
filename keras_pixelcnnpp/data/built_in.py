"""Data sets known by name."""

import numpy as np

from keras_pixelcnnpp.data.dataset import VALIDATION_SHARE, Dataset, LabeledImages
from keras_pixelcnnpp.data.npz import dataset_of_arrays
from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.errors import UserError

CLASS_NAMES = {
    "digits": tuple("0123456789"),
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}


def load_built_in(name: str, seed: int = 0) -> Dataset:
    """Loads a data set by its name.

    | name | images | splits |
    |---|---|---|
    | `"digits"` | 1797, 8×8×1 | see `load_digits` |
    | `"mnist"` | 70,000, 28×28×1 | the last 2,000 to train on are `validation` |
    | `"fashion_mnist"` | 70,000, 28×28×1 | the last 2,000 to train on are `validation` |
    | `"cifar10"` | 60,000, 32×32×3 | a tenth of those to train on becomes `validation` |

    All but the digits come from `keras.datasets`, which downloads them once.

    Args:
        name: One of `CLASS_NAMES`.
        seed: Integer, chooses the validation images of `cifar10`. The others' are fixed.

    Returns:
        `Dataset` of ten classes, with the splits `train`, `validation` and `test`.

    Raises:
        UserError: If the data can't be downloaded.

    References:
        - LeCun et al. 1998, https://doi.org/10.1109/5.726791
        - Xiao et al. 2017, https://arxiv.org/abs/1708.07747
        - Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
    """
    if name == "digits":
        return load_digits()
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    # Anything: the network, the disk, the archive.
    except Exception as error:
        raise UserError(
            f"{name} cannot be downloaded: {' '.join(str(error).split())}. Without a network, give "
            "an .npz file with the arrays x_train, y_train, x_test and y_test as the data."
        ) from error
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    if name != "cifar10":
        held_out = len(x_train) // 30
        arrays["x_validation"], arrays["y_validation"] = x_train[-held_out:], y_train[-held_out:]
        arrays["x_train"], arrays["y_train"] = x_train[:-held_out], y_train[:-held_out]
    return dataset_of_arrays(name, {**arrays, "class_names": np.array(CLASS_NAMES[name])}, seed)


def load_digits() -> Dataset:
    """Loads scikit-learn's digits: 1797 images, 8×8, gray, ten classes.

    Their 17 levels of gray are spread over 0 to 255: a model with `num_levels=17` has them back
    exactly. The split is always the same: a third of each class is `test`, a tenth of the rest
    `validation`.

    Returns:
        `Dataset` with the classes `"0"` to `"9"`.

    Reference:
        Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80
    """
    from sklearn import datasets  # takes a second to import

    bunch = datasets.load_digits()
    everything = LabeledImages(
        to_images(bunch.images[..., None], 17),
        bunch.target.astype("int32"),
        tuple(f"digits/{row:06d}" for row in range(len(bunch.target))),
    )
    rest, test = everything.hold_out(1 / 3, seed=0)
    train, validation = rest.hold_out(VALIDATION_SHARE, seed=0)
    splits = {"train": train, "validation": validation, "test": test}
    return Dataset("digits", CLASS_NAMES["digits"], splits)
