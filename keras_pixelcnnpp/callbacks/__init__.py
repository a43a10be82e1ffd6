"""Callbacks for `model.fit`: what is measured, drawn and kept while a model trains."""

from keras_pixelcnnpp.callbacks.averaged_weights import averaged_weights
from keras_pixelcnnpp.callbacks.checkpoints import Checkpoints
from keras_pixelcnnpp.callbacks.epoch_checkpoint import EpochCheckpoint
from keras_pixelcnnpp.callbacks.frechet_monitor import FrechetMonitor
from keras_pixelcnnpp.callbacks.history_file import HistoryFile
from keras_pixelcnnpp.callbacks.progress import Progress
from keras_pixelcnnpp.callbacks.set_epoch import SetEpoch
from keras_pixelcnnpp.callbacks.stop_on_non_finite import StopOnNonFinite
from keras_pixelcnnpp.callbacks.stop_on_signal import StopOnSignal
from keras_pixelcnnpp.callbacks.tensorboard_configuration import TensorBoardConfiguration
from keras_pixelcnnpp.callbacks.tensorboard_pictures import TensorBoardPictures
from keras_pixelcnnpp.callbacks.tensorboard_samples import TensorBoardSamples
from keras_pixelcnnpp.callbacks.validation_monitor import ValidationMonitor

__all__ = [
    "Checkpoints",
    "EpochCheckpoint",
    "FrechetMonitor",
    "HistoryFile",
    "Progress",
    "SetEpoch",
    "StopOnNonFinite",
    "StopOnSignal",
    "TensorBoardConfiguration",
    "TensorBoardPictures",
    "TensorBoardSamples",
    "ValidationMonitor",
    "averaged_weights",
]
