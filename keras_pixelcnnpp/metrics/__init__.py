"""Numbers that judge a model. Small functions over numpy arrays; libraries do the work."""

from keras_pixelcnnpp.metrics.accuracy import accuracy_interval
from keras_pixelcnnpp.metrics.bits import bits_per_dim
from keras_pixelcnnpp.metrics.bootstrap import accuracy_difference_interval
from keras_pixelcnnpp.metrics.calibration import expected_calibration_error, reliability
from keras_pixelcnnpp.metrics.classification import classification_metrics
from keras_pixelcnnpp.metrics.copying import memorisation
from keras_pixelcnnpp.metrics.density import density_coverage
from keras_pixelcnnpp.metrics.fidelity import fidelity_metrics
from keras_pixelcnnpp.metrics.frechet import frechet_distance
from keras_pixelcnnpp.metrics.kernel import kernel_distance
from keras_pixelcnnpp.metrics.manifold import precision_recall
from keras_pixelcnnpp.metrics.mcnemar import mcnemar_p_value
from keras_pixelcnnpp.metrics.neighbours import nearest_neighbours
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
    "density_coverage",
    "expected_calibration_error",
    "fidelity_metrics",
    "fit_temperature",
    "frechet_distance",
    "kernel_distance",
    "mcnemar_p_value",
    "memorisation",
    "nearest_neighbours",
    "one_vs_rest_auc",
    "precision_recall",
    "reliability",
    "selective_accuracy",
]
