"""Conditional PixelCNN++ for Keras 3: generates, classifies and scores pictures."""

import importlib
import sys

__version__ = "0.1.0"

_HOMES = {
    "BaselineCNN": "keras_pixelcnnpp.models.baseline_cnn",
    "DiscretizedLogisticMixture": "keras_pixelcnnpp.distributions.discretized_logistic_mixture",
    "FusedAdam": "keras_pixelcnnpp.optimizers",
    "PixelCNNClassifier": "keras_pixelcnnpp.classifiers",
    "PixelCNNPlusPlus": "keras_pixelcnnpp.models.pixelcnnpp",
    "SavedModelClassifier": "keras_pixelcnnpp.export.saved_model",
    "WarmUpThenDecay": "keras_pixelcnnpp.optimizers",
    "keep_freed_memory": "keras_pixelcnnpp.memory",
}

__all__ = [
    "BaselineCNN",
    "DiscretizedLogisticMixture",
    "FusedAdam",
    "PixelCNNClassifier",
    "PixelCNNPlusPlus",
    "SavedModelClassifier",
    "WarmUpThenDecay",
    "keep_freed_memory",
]


def __getattr__(name):
    # On demand: Keras and its backend take seconds to import, which `pixelcnnpp --help` need not
    # wait for, and tensorflow_probability isn't there for every backend.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


if "keras" in sys.modules:
    # Who has Keras already may go on to `keras.models.load_model`, which finds registered classes
    # only.
    importlib.import_module(_HOMES["BaselineCNN"])
    importlib.import_module(_HOMES["PixelCNNPlusPlus"])
