"""The posterior of part of a picture, against sums over all that the rest could be."""

import enumeration
import numpy as np
import pytest
import tiny
from scipy.special import logsumexp, softmax

IMAGES = tiny.tiny_split(7).images


def log_marginals(model, label, image_shape, rows):
    """Log-probability of the first rows of each of the 256 pictures, by summing all endings."""
    known = rows * image_shape[1] * image_shape[2]
    joint = enumeration.log_law(model, label).reshape((4,) * 4)
    summed = logsumexp(joint, axis=tuple(range(known, 4)), keepdims=True)
    return np.broadcast_to(summed, joint.shape).ravel()


@pytest.mark.parametrize("image_shape", [(2, 2, 1), (4, 1, 1), (2, 1, 2)])
def test_is_bayes_rule_over_all_endings(image_shape):
    model = enumeration.enumerable_model(image_shape)
    pictures, rows = enumeration.all_pictures(image_shape), range(image_shape[0] + 1)
    expected = np.stack(
        [
            np.stack([log_marginals(model, label, image_shape, r) for label in (0, 1)], axis=1)
            for r in rows
        ],
        axis=1,
    )
    scores = model.class_log_likelihoods(pictures, known_rows=rows, batch_size=256)
    np.testing.assert_allclose(scores, expected, atol=2e-4)
    received = model.class_probabilities(pictures, known_rows=rows, batch_size=256)
    np.testing.assert_allclose(received, softmax(expected, axis=-1), atol=1e-4)
    np.testing.assert_array_equal(received[:, 0], 0.5)
    assert received.dtype == np.float32
    assert np.ptp(received[:, 1]) > 0.01


def test_all_rows_are_the_picture_and_one_number_is_one_of_several(hybrid):
    whole = hybrid.class_probabilities(IMAGES)
    each = hybrid.class_probabilities(IMAGES, known_rows=range(5))
    assert each.shape == (7, 5, 3)
    np.testing.assert_allclose(each[:, 4], whole, atol=1e-5)
    np.testing.assert_allclose(hybrid.class_probabilities(IMAGES, known_rows=4), whole, atol=1e-5)
    np.testing.assert_array_equal(hybrid.class_probabilities(IMAGES, known_rows=2), each[:, 2])
    np.testing.assert_array_equal(
        hybrid.class_probabilities(IMAGES, known_rows=[3, 1]), each[:, [3, 1]]
    )
    prior = softmax([0.1, -0.2, 0.4])
    np.testing.assert_allclose(each[:, 0], np.tile(prior, (7, 1)), rtol=1e-5)


def test_what_is_not_known_makes_no_difference(model, rng):
    others = IMAGES.copy()
    others[:, 2:] = rng.integers(0, 5, others[:, 2:].shape)
    rows = range(3)
    np.testing.assert_allclose(
        model.class_log_likelihoods(others, known_rows=rows),
        model.class_log_likelihoods(IMAGES, known_rows=rows),
        atol=1e-5,
    )


def test_no_picture_at_all(model):
    assert model.class_probabilities(IMAGES[:0], known_rows=2).shape == (0, 3)
    assert model.class_probabilities(IMAGES[:0], known_rows=range(5)).shape == (0, 5, 3)


@pytest.mark.parametrize(
    "known_rows", [-1, 5, 1.5, True, [1, 5], [[1]], "1", np.ones((4, 4), bool)]
)
def test_rows_that_are_none(model, known_rows):
    with pytest.raises(ValueError, match=r"`known_rows`. Expected an integer from 0 to 4"):
        model.class_probabilities(IMAGES, known_rows=known_rows)
