"""Image models with exact likelihoods in Keras 3: sample, complete, classify, score, compress."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__version__ = "1.0.0rc2"

_BACKENDS = ("tensorflow", "jax", "torch")
_installed = [name for name in _BACKENDS if find_spec(name)]
if "KERAS_BACKEND" not in os.environ and _installed:
    # The backend in keras.json is used only if it is installed, because Keras writes a keras.json
    # with TensorFlow by default.
    try:
        _home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
        _chosen = json.loads(Path(_home, "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        _chosen = None
    os.environ["KERAS_BACKEND"] = _chosen if _chosen in _installed else _installed[0]
# Hides the log of TensorFlow's C++ code, whose errors also raise exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_backend = os.environ.get("KERAS_BACKEND", "tensorflow")
if _backend not in _installed:
    _advice = (
        f"Install it with `pip install {_backend}`, or set" if _backend in _BACKENDS else "Set"
    )
    raise ImportError(
        f"The Keras backend {_backend!r} is not installed. {_advice} the environment variable "
        f"KERAS_BACKEND to a backend that is installed. Found: {', '.join(_installed) or 'none'}"
    )

from keras_pixelcnnpp import codec, data, distributions, export, layers  # noqa: F401
from keras_pixelcnnpp.conditions import Labels, Maps, Vectors
from keras_pixelcnnpp.estimators.anomalies import AnomalyDetector
from keras_pixelcnnpp.estimators.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.grid_posterior import GridPosterior
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.models.rank_statistics import RankStatistics, rank_statistics
from keras_pixelcnnpp.models.verification import verify
from keras_pixelcnnpp.presets import upload_preset
from keras_pixelcnnpp.tiled.model import TiledModel
from keras_pixelcnnpp.training.optimizers import LikelihoodFirst, WarmUp
from keras_pixelcnnpp.utils.memory import keep_freed_memory

__all__ = [
    "AnomalyDetector",
    "AutoregressiveModel",
    "BaselineCNN",
    "GatedPixelCNN",
    "GridPosterior",
    "Labels",
    "LikelihoodFirst",
    "Maps",
    "PixelCNN",
    "PixelCNNClassifier",
    "PixelCNNPlusPlus",
    "RankStatistics",
    "SavedModelClassifier",
    "TiledModel",
    "Vectors",
    "WarmUp",
    "keep_freed_memory",
    "rank_statistics",
    "upload_preset",
    "verify",
]


def __getattr__(name: str) -> Any:
    # Imported on demand: TensorFlow Probability is optional, and takes seconds to import.
    if name == "DiscretizedLogisticMixture":
        from keras_pixelcnnpp.distributions.discretized_logistic_mixture import (
            DiscretizedLogisticMixture,
        )

        return DiscretizedLogisticMixture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
