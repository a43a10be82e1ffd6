"""Two classifiers judged on the same pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_pixelcnnpp.classification.details import classifier_details
from keras_pixelcnnpp.metrics import (
    PixelHistogram,
    accuracy_difference_interval,
    bits_per_dim,
    classification_metrics,
    mcnemar_p_value,
)


@dataclass(frozen=True)
class Evaluation:
    """What one model says about the pictures of a split.

    Args:
        probabilities: float `[count, num_classes]`.
        log_likelihood: float `[count, num_classes]`, `log p(x | y)` in nats; `None` from a model
            that is no density.
        pictures_per_second: How fast it judged them; `None` if that wasn't measured.
    """

    probabilities: np.ndarray
    log_likelihood: np.ndarray | None = None
    pictures_per_second: float | None = None

    @property
    def predicted(self) -> np.ndarray:
        """Int `[count]`, the most probable classes."""
        return self.probabilities.argmax(axis=1)


def compare(
    labels: np.ndarray,
    evaluations: dict[str, Evaluation],
    image_shape: tuple[int, int, int],
    class_names: Sequence[str] | None = None,
) -> dict:
    """The numbers of `classification.json`, apart from the split's name.

    Args:
        labels: int `[count]`; pictures with the label -1 are left out.
        evaluations: By model, `"pixelcnnpp"` and perhaps `"baseline"`.
        image_shape: `(height, width, channels)`.
        class_names: The name of each class; `None` leaves out what `classifier_details` gives.

    Returns:
        `{"count", "models": {name: {"accuracy", "accuracy_ci95", "log_loss", "ece",
        "bits_per_dim", "pictures_per_second", …}}, "mcnemar_p", "accuracy_difference"}`; under each
        model also what `classifier_details` gives. `bits_per_dim` is the mean over pictures of that
        of `p(x)`, with equally likely classes, and `None` for a model that is no density.
        `mcnemar_p` and `accuracy_difference` (the first model minus the second:
        `{"value", "ci95"}`) are `None` where there is one model only.
    """
    known = labels >= 0
    labels = labels[known]
    models, correct = {}, []
    for name, evaluation in evaluations.items():
        probabilities = evaluation.probabilities[known]
        models[name] = classification_metrics(labels, probabilities)
        models[name]["bits_per_dim"] = _mean_bits(evaluation.log_likelihood, known, image_shape)
        models[name]["pictures_per_second"] = evaluation.pictures_per_second
        if class_names is not None:
            models[name].update(classifier_details(labels, probabilities, class_names))
        correct.append(evaluation.predicted[known] == labels)
    two = len(correct) == 2
    return {
        "count": len(labels),
        "models": models,
        "mcnemar_p": mcnemar_p_value(*correct) if two else None,
        "accuracy_difference": _accuracy_difference(*correct) if two else None,
    }


def _accuracy_difference(correct_a: np.ndarray, correct_b: np.ndarray) -> dict:
    return {
        "value": float(correct_a.mean() - correct_b.mean()),
        "ci95": list(accuracy_difference_interval(correct_a, correct_b)),
    }


def histogram_bits_per_dim(train: np.ndarray, images: np.ndarray, num_levels: int) -> float:
    """Mean bits/dim of `images` under independent pixel histograms fitted to `train`."""
    log_prob = PixelHistogram(train, num_levels).log_prob(images)
    return float(np.mean(bits_per_dim(log_prob, images.shape[1:])))


def _mean_bits(log_likelihood, known, image_shape) -> float | None:
    if log_likelihood is None:
        return None
    from scipy.special import logsumexp

    scores = np.asarray(log_likelihood, np.float64)[known]
    log_prob = logsumexp(scores, axis=1) - np.log(scores.shape[1])
    return float(np.mean(bits_per_dim(log_prob, image_shape)))
