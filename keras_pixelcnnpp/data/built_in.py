"""Built-in data sets."""

import keras
import numpy as np

from keras_pixelcnnpp.data.arrays import dataset_of_arrays
from keras_pixelcnnpp.data.dataset import VALIDATION_SHARE, Dataset, LabeledImages
from keras_pixelcnnpp.data.source import DataSource, LoadOptions
from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.recipes.existing import CLASS_NAMES, DIGITS
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument, one_line


class BuiltIn(DataSource):
    """A built-in data set, which is chosen by its name.

    | name | images | splits |
    |---|---|---|
    | `"digits"` | 1797, 8×8×1 | a third of each class is `test`, a tenth of the rest `validation` |
    | `"mnist"` | 70,000, 28×28×1 | the last 2,000 training images are `validation` |
    | `"fashion_mnist"` | 70,000, 28×28×1 | `train` and `test` |
    | `"cifar10"` | 60,000, 32×32×3 | `train` and `test` |

    `"digits"` comes from scikit-learn. Its 17 gray levels are scaled to 0 to 255, so a model with
    `num_levels=17` distinguishes exactly these levels. The others come from `keras.datasets`, which
    downloads them once. `load_dataset` adds `validation` where it is missing.

    Raises:
        UserError: If the data can't be downloaded.

    References:
        - Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80
        - LeCun et al. 1998, https://doi.org/10.1109/5.726791
        - Xiao et al. 2017, https://arxiv.org/abs/1708.07747
        - Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
    """

    def __init__(self, text: str):
        self.path = None
        self.location = self.name = text
        self.may_be_mirrored = CLASS_NAMES[text] != DIGITS  # a mirrored digit is no digit
        if text != "cifar10":  # its preset is the network of the paper
            self.preset = text

    @classmethod
    def takes(cls, text: str) -> bool:
        return text in CLASS_NAMES

    def load(self, how: LoadOptions) -> Dataset:
        if how.as_uint16:
            raise invalid_argument("as_uint16", True, "False for built-in data, which have 8 bits")
        if how.vectors:
            expected = "none for built-in data, which have no vectors"
            raise invalid_argument("vectors", how.vectors, expected)
        if self.name == "digits":
            return _load_digits()
        try:
            (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, self.name).load_data()
        # Any exception: of the network, the disk or the archive.
        except Exception as error:
            advice = f", and train with --preset {self.name}" if self.preset == self.name else ""
            raise UserError(
                f"{self.name} cannot be downloaded: {one_line(error)}. Without a network, use an "
                f".npz file with the arrays x_train, y_train, x_test and y_test as the data{advice}"
            ) from error
        arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
        if self.name == "mnist":  # the split that the preset `mnist` was trained on
            held_out = len(x_train) // 30
            arrays["x_validation"] = x_train[-held_out:]
            arrays["y_validation"] = y_train[-held_out:]
            arrays["x_train"], arrays["y_train"] = x_train[:-held_out], y_train[:-held_out]
        arrays["class_names"] = np.array(CLASS_NAMES[self.name])
        return dataset_of_arrays(self.name, arrays)


def _load_digits() -> Dataset:
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
