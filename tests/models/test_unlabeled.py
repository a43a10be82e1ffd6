"""Images without a label: what they add to the loss, against float64 NumPy."""

import keras
import numpy as np
import pytest
import tiny
from scipy.special import log_softmax, logsumexp

SPLIT = tiny.tiny_split(12)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
LABELED = np.arange(12) % 4 > 1
INPUTS = {"image": IMAGES, "label": np.where(LABELED, LABELS, -1)}
OFFSETS = np.array([0.1, -0.2, 0.4])
WEIGHTS = np.arange(12) % 3 + 0.5


@pytest.fixture(scope="module")
def model():
    model = tiny.random_model(label_loss_weight=0.7, dropout_rate=0.0, unlabeled_weight=0.25)
    model.posterior.log_logit_scale.assign(np.log(0.3))
    model.posterior.class_bias.assign([*OFFSETS, 0.0])
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_loss_and_metrics(model, weights):
    scores = model.class_log_likelihoods(IMAGES).astype("float64")
    own = scores[np.arange(12), LABELS]
    of_none = logsumexp(scores, axis=1) - np.log(3)
    bits = -np.where(LABELED, own, of_none) / (16 * np.log(2))
    logits = 0.3 * scores + OFFSETS
    cross_entropy = -log_softmax(logits, axis=1)[np.arange(12), LABELS]
    losses = np.where(LABELED, bits + 0.7 * cross_entropy, 0.25 * bits)
    given = np.ones(12) if weights is None else weights
    for batch_size in (12, 5):
        result = model.evaluate(
            INPUTS, batch_size=batch_size, sample_weight=weights, verbose=0, return_dict=True
        )
        expected = {
            "loss": np.mean(losses * given),
            "bits_per_dim": np.average(bits, weights=given),
            "cross_entropy": np.average(cross_entropy, weights=given * LABELED),
            "accuracy": np.average(logits.argmax(axis=1) == LABELS, weights=given * LABELED),
        }
        assert result == pytest.approx(expected, rel=1e-4)


def test_fit_learns_from_them_alone():
    model = tiny.untrained_model(unlabeled_weight=1.0)
    model.compile(keras.optimizers.Adam(0.01))
    inputs = {"image": IMAGES, "label": np.full(12, -1)}
    history = model.fit(inputs, epochs=8, batch_size=12, verbose=0, validation_data=inputs).history
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert history["loss"] == pytest.approx(history["bits_per_dim"])


@pytest.mark.parametrize(("weight", "label"), [(0.0, -1), (0.25, -2), (0.25, 3)])
def test_labels_that_say_nothing(weight, label):
    model = tiny.untrained_model(unlabeled_weight=weight)
    model.compile("sgd")
    with pytest.raises(ValueError, match="Expected integers from 0 to 2"):
        model.fit(IMAGES, np.where(LABELS == 1, label, LABELS), verbose=0)
