"""Loading of labeled images, and batches for `fit`."""

from keras_pixelcnnpp.data.batches import ImageBatches, RandomCrops, SetEpoch
from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.data.images import read_image
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.levels import to_images, to_levels

__all__ = [
    "Dataset",
    "ImageBatches",
    "LabeledImages",
    "RandomCrops",
    "SetEpoch",
    "load_dataset",
    "read_image",
    "to_images",
    "to_levels",
]
