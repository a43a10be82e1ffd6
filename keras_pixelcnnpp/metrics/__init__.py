"""Numbers that judge a model. Small functions over numpy arrays; libraries do the work."""

from keras_pixelcnnpp.metrics.accuracy import accuracy_interval
from keras_pixelcnnpp.metrics.bits import bits_per_dim
from keras_pixelcnnpp.metrics.calibration import expected_calibration_error
from keras_pixelcnnpp.metrics.classification import classification_metrics
from keras_pixelcnnpp.metrics.mcnemar import mcnemar_p_value
from keras_pixelcnnpp.metrics.pixel_histogram import PixelHistogram

__all__ = [
    "PixelHistogram",
    "accuracy_interval",
    "bits_per_dim",
    "classification_metrics",
    "expected_calibration_error",
    "mcnemar_p_value",
]
