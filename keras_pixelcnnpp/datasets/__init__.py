"""Labelled pictures: where they come from, and how they reach `fit`."""

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.image_sequence import ImageSequence
from keras_pixelcnnpp.datasets.images import read_image, to_levels, to_pixels
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.datasets.load import load_dataset

__all__ = [
    "Dataset",
    "ImageSequence",
    "LabelledImages",
    "load_dataset",
    "read_image",
    "to_levels",
    "to_pixels",
]
