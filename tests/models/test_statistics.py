"""Tests of `pixel_statistics` against enumerated images, samples and float64."""

import enumeration
import numpy as np
import pytest

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.models import statistics

pytestmark = pytest.mark.eagerly

LABELS = np.arange(256) % 3 - 1
CASES = [
    (kp.PixelCNNPlusPlus, "logistic_mixture", (2, 2, 1), "bias"),
    (kp.GatedPixelCNN, "categorical", (2, 1, 2), "bias"),
]
ONCE = [(kp.PixelCNN, "logistic_mixture", (1, 1, 4), "bias")]


def expected_statistics(law, values, uniform):
    """Returns log p, H, V and PIT of the sub-pixels of all images under a law, `(4, 256, 4)`."""
    found, every = [], np.arange(256)
    for k, step in enumerate(enumeration.conditionals(law)):
        log_probs = step[tuple(values[:, :k].T)] if k else np.tile(step, (256, 1))
        probs, own = np.exp(log_probs), values[:, k]
        entropy = -(probs * log_probs).sum(axis=1)
        variance = (probs * log_probs**2).sum(axis=1) - entropy**2
        below = probs.cumsum(axis=1)[every, own] - probs[every, own]
        pit = below + uniform[:, k] * probs[every, own]
        found.append([log_probs[every, own], entropy, variance, pit])
    return np.moveaxis(found, 0, 2)


def check_case(model):
    images = enumeration.all_images(model.image_shape)
    values = to_levels(images, 4).reshape(256, 4)
    uniform = statistics.uniform_numbers(images, seed=3).reshape(256, 4)
    labels = LABELS if model.num_classes else np.full(256, -1)
    given = labels if model.num_classes else -1
    found = model.pixel_statistics(images, given, seed=3, batch_size=100)
    for label in np.unique(labels):
        law = enumeration.log_law(model, label if model.num_classes else None)
        rows = labels == label
        every = expected_statistics(law, values, uniform)
        for received, expected in zip(found, every, strict=True):
            assert received.dtype == np.float32
            assert received.shape == images.shape
            of_label = received[rows].reshape(-1, 4)
            np.testing.assert_allclose(of_label, expected[rows], atol=2e-5)


@pytest.mark.once
def test_what_is_exact_of_the_surprisal():
    """Over all 2×2 images, weighted by p: the mean and the variance of its excess, but not of z."""
    model = enumeration.enumerable_model()
    found = model.pixel_statistics(images := enumeration.all_images(model.image_shape), 0)
    p = np.exp(model.log_prob(images, 0).astype("float64"))
    excess, z = found.excess_surprisal, found.standardized_surprisal
    assert p @ excess == pytest.approx(0, abs=1e-5)
    assert p @ excess**2 == pytest.approx(p @ found.variance.sum(axis=(1, 2, 3)), rel=1e-4)
    assert abs(p @ z) > 1e-3


@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(case, marks=pytest.mark.once) for case in ONCE)]
)
def test_every_image_of_a_tiny_space(case):
    cls, head, image_shape, conditioning = case
    model = enumeration.enumerable_model(image_shape, cls, head=head, conditioning=conditioning)
    check_case(model)


@pytest.mark.once
def test_an_unconditional_model_in_small_parts(monkeypatch):
    monkeypatch.setattr(statistics, "MAX_PROBABILITIES", 30)
    check_case(enumeration.enumerable_model(num_classes=0))


@pytest.mark.once
def test_4096_levels_and_improbable_images():
    """The log-probabilities are those of `log_prob`, also where a level has underflowed."""
    how = {"head": "logistic_mixture", "filters": 8, "num_blocks": 1, "num_mixtures": 2}
    model = kp.PixelCNN((3, 4, 3), num_classes=2, num_levels=4096, **how)
    rng = np.random.default_rng(1)
    for variable in model.network.trainable_variables:
        offset = -6 if variable.path.endswith("head/bias") else 0  # narrow logistics
        variable.assign(offset + rng.normal(size=variable.shape))
    images = np.random.default_rng(0).integers(0, 4096, (5, 3, 4, 3)).astype("uint16")
    for labels in (-1, [0, 1, 1, 0, 1]):
        found = model.pixel_statistics(images, labels)
        assert found.log_prob.min() < -80
        total = model.log_prob(images, np.broadcast_to(labels, 5))
        np.testing.assert_allclose(found.log_prob.sum(axis=(1, 2, 3)), total, rtol=1e-4)
        assert all(np.isfinite(array).all() for array in found)
        assert found.entropy.min() >= -1e-5
        assert found.entropy.max() <= np.log(4096) * 1.0001


@pytest.mark.once
def test_random_numbers_depend_on_seed_and_image(hybrid):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1)).astype("uint8")
    pit = hybrid.pixel_statistics(images, seed=1).pit
    again = hybrid.pixel_statistics(images[::-2], seed=1, batch_size=2).pit
    np.testing.assert_allclose(again, pit[::-2], atol=1e-6)
    assert np.abs(hybrid.pixel_statistics(images, seed=2).pit - pit).max() > 0.01
    assert hybrid.pixel_statistics(images[:0]).pit.shape == (0, 4, 4, 1)
