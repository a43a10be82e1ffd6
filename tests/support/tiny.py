"""Models and data that train in seconds, for tests that need a whole run."""

import numpy as np
from layer_checks import randomize

from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.models.pixelcnn import PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

MODEL = {
    "filters": 4,
    "num_blocks": 1,
    "num_resolutions": 1,
    "num_mixtures": 1,
    "conditioning": "bias",
    "conditioned_blocks": "all",
    "dropout_rate": 0.3,
    "label_loss_weight": 0.0,
}
NAMES = ("dark", "gray", "bright")


def tiny_split(count, seed=0, size=4, labels=True):
    """Images of 5 levels and 3 classes, whose brightness depends on the class."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count, dtype="int32") % 3
    noise = rng.integers(0, 3, (count, size, size, 1))
    images = to_images(noise + classes[:, None, None, None], 5)
    return LabeledImages(
        images,
        classes if labels else np.full(count, -1, "int32"),
        tuple(f"image/{index}" for index in range(count)),
    )


TWELVE = tiny_split(12)
IMAGES, LABELS = TWELVE.images, TWELVE.labels


def tiny_dataset():
    """A `Dataset` with train, validation and an unlabeled test split."""
    splits = {
        "train": tiny_split(24, 0),
        "validation": tiny_split(9, 1),
        "test": tiny_split(5, 2, labels=False),
    }
    return Dataset("tiny", NAMES, splits)


def tiny_data_config(dataset):
    """The section `data` of `config.json`."""
    return {
        "source": dataset.name,
        "seed": 0,
        "fingerprint": dataset.fingerprint(),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
    }


def untrained_model(**arguments):
    """A `PixelCNNPlusPlus` for that data, which has seen none of it."""
    options = {"image_shape": (4, 4, 1), "num_classes": 3, "num_levels": 5, **MODEL}
    return PixelCNNPlusPlus(**{**options, **arguments})


def untrained_pixelcnn(**arguments):
    """A `PixelCNN` for it, for tests of any network: half as large, it is traced twice as fast."""
    options = {"image_shape": (4, 4, 1), "num_classes": 3, "num_levels": 5, "num_mixtures": 1}
    options |= {"filters": 4, "num_blocks": 1, "dropout_rate": 0.3, "label_loss_weight": 0.0}
    return PixelCNN(**{**options, **arguments})


def tiny_model(**arguments):
    """An `untrained_model`, initialized from data, whose weights no initializer gives."""
    model = untrained_model(**arguments)
    model.initialize(IMAGES, LABELS)
    randomize(model.network, scale=0.1)
    return model


def save_npz(path):
    """Writes the data as an `.npz`, as a user would have it."""
    arrays = {"class_names": NAMES}
    for name, split in tiny_dataset().splits.items():
        arrays[f"x_{name}"] = split.images
        arrays[f"y_{name}"] = split.labels
    np.savez(path, **arrays)
    return path
