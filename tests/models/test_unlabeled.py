"""The loss, and what images without a label add to it, against float64 NumPy."""

import keras
import numpy as np
import pytest
import tiny
from scipy.special import log_softmax, logsumexp

SPLIT = tiny.tiny_split(12)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
OFFSETS = np.array([0.1, -0.2, 0.4])
WEIGHTS = np.arange(12) % 3 + 0.5


@pytest.mark.parametrize("unlabeled_weight", [0.0, 0.25])
def test_loss_and_metrics(unlabeled_weight):
    options = {"label_loss_weight": 0.7, "unlabeled_weight": unlabeled_weight}
    # Where training compares two labels, `evaluate` compares all.
    options["num_candidates"] = None if unlabeled_weight else 2
    model = tiny.untrained_pixelcnn(dropout_rate=0.0, initial_logit_scale=0.3, **options)
    model.initialize(IMAGES, LABELS)
    model.posterior.class_bias.assign([*OFFSETS, 0.0])
    model.compile(keras.optimizers.SGD(0.0))
    labeled = np.arange(12) % 4 > 1 if unlabeled_weight else np.ones(12, bool)
    inputs = {"image": IMAGES, "label": np.where(labeled, LABELS, -1)}
    scores = model.class_log_likelihoods(IMAGES).astype("float64")
    own = scores[np.arange(12), LABELS]
    of_none = logsumexp(scores, axis=1) - np.log(3)
    bits = -np.where(labeled, own, of_none) / (16 * np.log(2))
    logits = 0.3 * scores + OFFSETS
    cross_entropy = -log_softmax(logits, axis=1)[np.arange(12), LABELS]
    losses = np.where(labeled, bits + 0.7 * cross_entropy, unlabeled_weight * bits)
    for weights, batch_size in ((None, 12), (WEIGHTS, 12), (WEIGHTS, 5)):
        given = np.ones(12) if weights is None else weights
        result = model.evaluate(
            inputs, batch_size=batch_size, sample_weight=weights, verbose=0, return_dict=True
        )
        expected = {
            "loss": np.mean(losses * given),
            "bits_per_dim": np.average(bits, weights=given),
            "cross_entropy": np.average(cross_entropy, weights=given * labeled),
            "accuracy": np.average(logits.argmax(axis=1) == LABELS, weights=given * labeled),
        }
        assert result == pytest.approx(expected, rel=1e-4)
