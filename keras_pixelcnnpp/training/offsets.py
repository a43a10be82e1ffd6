"""The offsets of the posterior, fitted to the finished model."""

import numpy as np
from keras import ops
from scipy.optimize import minimize
from scipy.special import log_softmax

from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus


def refit_offsets(model: PixelCNNPlusPlus, pictures: LabelledImages, batch_size: int) -> None:
    """Fits the offset of each class anew, with the weights as they are and dropout off.

    The offsets that training learned belong to a network with dropout, whose log-likelihoods are
    shifted by class, and to weights before they were averaged. The cross-entropy is convex in the
    offsets, so there is one answer, whatever they were.

    Args:
        model: A trained model that learned offsets; they are replaced.
        pictures: Labelled pictures, best those it was trained on.
        batch_size: Pictures at a time.
    """
    scores = model.class_log_likelihoods(pictures.images, batch_size=batch_size)
    temperature = np.exp(ops.convert_to_numpy(model.posterior.log_temperature))
    fitted = fit_offsets(temperature * scores.astype("float64"), pictures.labels)
    offsets = np.append(fitted, 0.0).astype("float32")  # "no label" has no prior of its own
    model.posterior.offsets.assign(offsets)


def fit_offsets(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The offsets, of mean 0, that minimize the cross-entropy of `logits + offsets`.

    Args:
        logits: Float `(count, num_classes)`.
        labels: Int `(count,)`.

    Returns:
        Float64 `(num_classes,)`.
    """
    num_classes = logits.shape[1]
    frequencies = np.bincount(labels, minlength=num_classes) / len(labels)

    def cross_entropy(offsets):
        log_probs = log_softmax(logits + offsets, axis=1)
        value = -np.mean(log_probs[np.arange(len(labels)), labels])
        return value, np.exp(log_probs).mean(axis=0) - frequencies

    fitted = minimize(cross_entropy, np.zeros(num_classes), jac=True, method="BFGS").x
    return fitted - fitted.mean()
