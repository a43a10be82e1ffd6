"""Labelled images: where they come from, and how they reach `fit`."""

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.data.images import read_image, to_levels, to_pixels
from keras_pixelcnnpp.data.load import load_dataset

__all__ = [
    "Dataset",
    "ImageSequence",
    "LabelledImages",
    "load_dataset",
    "read_image",
    "to_levels",
    "to_pixels",
]
