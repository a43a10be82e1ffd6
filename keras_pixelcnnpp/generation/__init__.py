"""Generated pictures: drawn by class, from a model or an exported one, measured, written."""

from keras_pixelcnnpp.generation.baseline_features import BaselineFeatures
from keras_pixelcnnpp.generation.class_samples import ClassSamples
from keras_pixelcnnpp.generation.comparison import Comparison
from keras_pixelcnnpp.generation.completions import complete_pictures
from keras_pixelcnnpp.generation.examination import Examination, examine
from keras_pixelcnnpp.generation.exported_sampling import sample_exported
from keras_pixelcnnpp.generation.gallery import Gallery
from keras_pixelcnnpp.generation.inception_features import InceptionFeatures
from keras_pixelcnnpp.generation.nearest_training import NearestTraining
from keras_pixelcnnpp.generation.real_pictures import RealPictures
from keras_pixelcnnpp.generation.temperature_sweep import TemperatureSweep, parse_temperatures

__all__ = [
    "BaselineFeatures",
    "ClassSamples",
    "Comparison",
    "Examination",
    "Gallery",
    "InceptionFeatures",
    "NearestTraining",
    "RealPictures",
    "TemperatureSweep",
    "complete_pictures",
    "examine",
    "parse_temperatures",
    "sample_exported",
]
