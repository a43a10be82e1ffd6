"""Evidence maps against the likelihood, and against conditionals of an enumerable model."""

import enumeration
import numpy as np
import pytest
import tiny

SPLIT = tiny.tiny_split(7)


@pytest.fixture(scope="module")
def model():
    # Its weights come from NumPy: the same under every backend.
    return enumeration.enumerable_model((4, 4, 1), num_classes=3, num_levels=5)


def test_sums_to_the_difference_of_the_log_likelihoods(model):
    against = (SPLIT.labels + 1) % 3
    evidence = model.evidence_map(SPLIT.images, SPLIT.labels, against, batch_size=3)
    assert evidence.shape == (7, 4, 4)
    assert evidence.dtype == np.float32
    expected = model.log_prob(SPLIT.images, SPLIT.labels) - model.log_prob(SPLIT.images, against)
    np.testing.assert_allclose(evidence.sum(axis=(1, 2)), expected, atol=1e-4)
    assert np.abs(expected).max() > 1e-2


@pytest.mark.parametrize(
    "image_shape", [pytest.param((2, 2, 1), marks=pytest.mark.once), (1, 2, 2)]
)
def test_pixels_are_the_conditionals_of_all_pictures(image_shape):
    """The conditionals come from the probabilities of all 256 pictures, by summing them up."""
    model = enumeration.enumerable_model(image_shape)
    pictures = enumeration.all_pictures(image_shape)
    values = pictures.reshape(256, 4)
    conditionals = []
    for label in (0, 1):
        steps = enumeration.conditionals(enumeration.log_law(model, label))
        each = [step[tuple(values[:, : k + 1].T)] for k, step in enumerate(steps)]
        # The channels of a pixel belong together.
        conditionals.append(np.stack(each, axis=1).reshape(256, *image_shape).sum(axis=-1))
    evidence = model.evidence_map(pictures, np.zeros(256, int), np.ones(256, int), batch_size=256)
    np.testing.assert_allclose(evidence, conditionals[0] - conditionals[1], atol=2e-4)
    assert np.abs(evidence).max() > 0.1


def test_is_antisymmetric_and_knows_no_label(model):
    none = np.full(7, 3)
    there = model.evidence_map(SPLIT.images, SPLIT.labels, none)
    back = model.evidence_map(SPLIT.images, none, SPLIT.labels)
    np.testing.assert_allclose(there, -back, atol=1e-5)
    same = model.evidence_map(SPLIT.images, SPLIT.labels, SPLIT.labels)
    np.testing.assert_allclose(same, 0, atol=1e-5)


def test_no_pictures(model):
    nothing = np.zeros(0, int)
    assert model.evidence_map(SPLIT.images[:0], nothing, nothing).shape == (0, 4, 4)


def test_bad_input(model):
    with pytest.raises(ValueError, match=r"`labels`. Expected 7 integers"):
        model.evidence_map(SPLIT.images, SPLIT.labels, SPLIT.labels[:2])
    with pytest.raises(ValueError, match="from 0 to 3"):
        model.evidence_map(SPLIT.images, SPLIT.labels, SPLIT.labels + 2)
    unconditional = tiny.tiny_model(num_classes=0, conditioning="none")
    with pytest.raises(ValueError, match="knows none"):
        unconditional.evidence_map(SPLIT.images, SPLIT.labels, SPLIT.labels)
