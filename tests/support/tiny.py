"""Tiny models and data that train in seconds."""

import keras
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
    """Returns images of 5 levels and 3 classes, whose brightness depends on the class."""
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
    """Returns a `Dataset` with the splits train and validation, and an unlabeled split test."""
    splits = {
        "train": tiny_split(24, 0),
        "validation": tiny_split(9, 1),
        "test": tiny_split(5, 2, labels=False),
    }
    return Dataset("tiny", NAMES, splits)


def tiny_data_config(dataset):
    """Returns the section `data` of `config.json`."""
    return {
        "source": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
    }


def untrained_model(**arguments):
    """Creates an untrained `PixelCNNPlusPlus` for the tiny data."""
    options = {"image_shape": (4, 4, 1), "num_classes": 3, "num_levels": 5, **MODEL}
    return PixelCNNPlusPlus(**{**options, **arguments})


def untrained_pixelcnn(**arguments):
    """Creates an untrained `PixelCNN`, which is traced twice as fast."""
    options = {"image_shape": (4, 4, 1), "num_classes": 3, "num_levels": 5, "num_mixtures": 1}
    options |= {"filters": 4, "num_blocks": 1, "dropout_rate": 0.3, "label_loss_weight": 0.0}
    return PixelCNN(**{**options, **arguments})


def tiny_model(make=untrained_model, **arguments):
    """Creates a model with random weights in all variables."""
    model = make(**arguments)
    randomize(model.network, scale=0.1)
    return model


def save_npz(path):
    """Writes the tiny data as an `.npz` file; returns its path."""
    arrays = {"class_names": NAMES}
    for name, split in tiny_dataset().splits.items():
        arrays[f"x_{name}"] = split.images
        arrays[f"y_{name}"] = split.labels
    np.savez(path, **arrays)
    return path


def taken(values, rows):
    """Returns the rows of an array, or of each array of a tuple."""
    return keras.tree.map_structure(lambda x: x[rows], values)


class Batches(keras.utils.PyDataset):
    """A `PyDataset` with batches of six images, alone or with values."""

    def __init__(self, images, values):
        super().__init__()
        self.arrays = [images] if values is None else [images, values]

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(6 * index, 6 * index + 6)
        batch = tuple(taken(array, rows) for array in self.arrays)
        return batch if len(batch) > 1 else batch[0]
