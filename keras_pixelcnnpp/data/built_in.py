"""CIFAR-10, which Keras downloads on first use."""

import keras

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.datasets.splits import with_validation
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
