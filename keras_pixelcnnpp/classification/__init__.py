"""Bayes' rule as a classifier: scikit-learn estimators over trained and exported models."""

from keras_pixelcnnpp.classification.baseline_classifier import BaselineClassifier
from keras_pixelcnnpp.classification.pixelcnn_classifier import PixelCNNClassifier
from keras_pixelcnnpp.classification.predictions_csv import write_predictions
from keras_pixelcnnpp.classification.saved_model_classifier import SavedModelClassifier

__all__ = [
    "BaselineClassifier",
    "PixelCNNClassifier",
    "SavedModelClassifier",
    "write_predictions",
]
