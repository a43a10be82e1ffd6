"""Conditional PixelCNN++ for Keras 3: generates, classifies and scores images."""

import os
from importlib.util import find_spec

__version__ = "0.1.0"

if "KERAS_BACKEND" not in os.environ:
    # Keras would try TensorFlow, and the keras.json that it writes says so where nobody chose.
    _installed = [name for name in ("tensorflow", "jax", "torch") if find_spec(name)]
    if len(_installed) == 1:
        os.environ["KERAS_BACKEND"] = _installed[0]
# TensorFlow reads it when it is imported. What goes wrong in its C++ code raises an exception too.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("tensorflow", "jax", "torch"):
        raise
    raise ImportError(
        f"The Keras backend {error.name!r} is not installed. Install it: pip install "
        f"'keras-pixelcnnpp[{error.name}]', or choose an installed one with the environment "
        "variable KERAS_BACKEND: tensorflow, jax or torch."
    ) from None

from keras_pixelcnnpp import (  # noqa: F401
    codec,
    conditioning,
    data,
    distributions,
    export,
)
from keras_pixelcnnpp.backend import keep_freed_memory
from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.optimizers import LikelihoodFirst, WarmUp

__all__ = [
    "BaselineCNN",
    "DiscretizedLogisticMixture",
    "GatedPixelCNN",
    "LikelihoodFirst",
    "PixelCNN",
    "PixelCNNClassifier",
    "PixelCNNPlusPlus",
    "SavedModelClassifier",
    "WarmUp",
    "keep_freed_memory",
]


def __getattr__(name):
    # On demand: tensorflow_probability takes seconds to import, and torch has none.
    if name == "DiscretizedLogisticMixture":
        from keras_pixelcnnpp.distributions.discretized_logistic_mixture import (
            DiscretizedLogisticMixture,
        )

        return DiscretizedLogisticMixture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
