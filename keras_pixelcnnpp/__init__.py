"""Conditional PixelCNN++ for Keras 3: generates, classifies and scores pictures."""

import importlib

from keras_pixelcnnpp.classification import PixelCNNClassifier, SavedModelClassifier
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

__version__ = "0.1.0"

__all__ = [
    "BaselineCNN",
    "DiscretizedLogisticMixture",
    "PixelCNNClassifier",
    "PixelCNNPlusPlus",
    "SavedModelClassifier",
]


def __getattr__(name):
    # tensorflow_probability takes seconds to import and isn't there for torch: only on demand.
    if name == "DiscretizedLogisticMixture":
        module = "keras_pixelcnnpp.distributions.discretized_logistic_mixture"
        return importlib.import_module(module).DiscretizedLogisticMixture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
