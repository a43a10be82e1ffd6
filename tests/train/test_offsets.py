import numpy as np
import pytest
from scipy.special import softmax
from tiny import tiny_model, tiny_split

from keras_pixelcnnpp.train.pixelcnnpp import fit_offsets, refit_offsets


def test_predicted_frequencies_become_those_of_the_labels(rng):
    """What sets the gradient of the cross-entropy to zero, whatever the logits."""
    logits = rng.normal([5.0, 0.0, -2.0], 3, (400, 3))
    labels = rng.choice(3, 400, p=[0.2, 0.5, 0.3])
    offsets = fit_offsets(logits, labels)
    frequencies = softmax(logits + offsets, axis=1).mean(axis=0)
    np.testing.assert_allclose(frequencies, np.bincount(labels) / 400, atol=1e-4)
    assert offsets.sum() == pytest.approx(0, abs=1e-9)


def test_known_offsets_are_found(rng):
    """Labels drawn from a softmax with known offsets."""
    logits = rng.normal(0, 1, (200_000, 3))
    true = np.array([1.0, -0.5, -0.5])
    gumbel = rng.gumbel(size=logits.shape)
    labels = np.argmax(logits + true + gumbel, axis=1)
    # Five standard deviations of a binomial share are 0.006; offsets are some five times as far.
    np.testing.assert_allclose(fit_offsets(logits, labels), true, atol=0.03)


def test_offsets_of_a_model_are_replaced():
    model = tiny_model(label_loss_weight=0.1, initial_temperature=0.5)
    model.posterior.offsets.assign([3.0, 0.0, 0.0, 0.0])
    pictures = tiny_split(60)
    refit_offsets(model, pictures, batch_size=32)
    probabilities = model.class_probabilities(pictures.images)
    np.testing.assert_allclose(probabilities.mean(axis=0), np.full(3, 1 / 3), atol=1e-3)
