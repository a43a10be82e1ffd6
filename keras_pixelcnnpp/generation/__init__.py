"""Generated pictures: drawn by class, from a model or an exported one, measured, written."""

from keras_pixelcnnpp.generation.class_samples import ClassSamples
from keras_pixelcnnpp.generation.exported_sampling import sample_exported

__all__ = ["ClassSamples", "sample_exported"]
