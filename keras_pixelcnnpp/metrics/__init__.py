"""Numbers that judge a model. Small functions over numpy arrays; libraries do the work."""

from keras_pixelcnnpp.metrics.accuracy import accuracy_interval
from keras_pixelcnnpp.metrics.bits import bits_per_dim
from keras_pixelcnnpp.metrics.bootstrap import accuracy_difference_interval
from keras_pixelcnnpp.metrics.calibration import expected_calibration_error, reliability
from keras_pixelcnnpp.metrics.classification import classification_metrics
from keras_pixelcnnpp.metrics.mcnemar import mcnemar_p_value
from keras_pixelcnnpp.metrics.pixel_histogram import PixelHistogram
from keras_pixelcnnpp.metrics.roc import one_vs_rest_auc
from keras_pixelcnnpp.metrics.selective import selective_accuracy
from keras_pixelcnnpp.metrics.temperature import (
    apply_temperature,
    cross_fitted_temperature,
    fit_temperature,
)

__all__ = [
    "PixelHistogram",
    "accuracy_difference_interval",
    "accuracy_interval",
    "apply_temperature",
    "bits_per_dim",
    "classification_metrics",
    "cross_fitted_temperature",
    "expected_calibration_error",
    "fit_temperature",
    "mcnemar_p_value",
    "one_vs_rest_auc",
    "reliability",
    "selective_accuracy",
]
