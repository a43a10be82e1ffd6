"""Likelihoods, and the posterior and bits/dim that follow from them."""

import numpy as np
import pytest
import tiny
from keras import ops
from scipy.special import log_softmax, logsumexp, softmax

from keras_pixelcnnpp.data.batches import ArrayBatches

SPLIT = tiny.tiny_split(12)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
DIMENSIONS = 16
OFFSETS = [0.1, -0.2, 0.4]  # of `hybrid`


def test_candidates_are_the_single_labels(model):
    candidates = np.array([[2, 0, 3, 1]] * 12)
    parameters = ops.convert_to_numpy(model({"image": IMAGES, "label": candidates}))
    assert parameters.shape == (12, 4, 4, 4, model.network.num_parameters)
    for column, label in enumerate(candidates[0]):
        alone = model({"image": IMAGES, "label": np.full(12, label)})
        alone = ops.convert_to_numpy(alone)[:, 0]
        np.testing.assert_allclose(parameters[:, column], alone, rtol=1e-4, atol=1e-5)


def test_posterior_and_bits_per_dim(hybrid):
    scores = hybrid.class_log_likelihoods(IMAGES).astype("float64")
    expected = np.exp(log_softmax(0.3 * scores + OFFSETS, axis=1))
    np.testing.assert_allclose(hybrid.class_probabilities(IMAGES), expected, rtol=1e-4, atol=1e-6)
    bits = -(logsumexp(scores, axis=1) - np.log(3)) / (DIMENSIONS * np.log(2))
    np.testing.assert_allclose(hybrid.bits_per_dim(IMAGES), bits, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_batches_of_one_size(model, batch_size, monkeypatch):
    sizes, batches = [], ArrayBatches.__getitem__

    def counted(self, index):
        sizes.append(len(batches(self, index)[0]["image"]))
        return batches(self, index)

    expected = model.log_prob(IMAGES, LABELS)
    monkeypatch.setattr(ArrayBatches, "__getitem__", counted)
    received = model.log_prob(IMAGES, LABELS, batch_size=batch_size)
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    assert len(set(sizes)) == 1
    assert sizes[0] <= batch_size


def test_no_image_at_all(model):
    assert model.log_prob(IMAGES[:0], LABELS[:0]).shape == (0,)
    assert model.class_log_likelihoods(IMAGES[:0]).shape == (0, 3)
    assert model.class_probabilities(IMAGES[:0]).shape == (0, 3)
    assert model.predict(IMAGES[:0], verbose=0).shape == (0, 3)
    assert model.log_prob(IMAGES[:0], []).shape == (0,)
    for name in ("fit", "evaluate"):
        with pytest.raises(ValueError, match=f"`{name}` needs images. Received: none"):
            getattr(model, name)(IMAGES[:0], LABELS[:0])


def test_all_rows_are_the_image_and_one_number_is_one_of_several(hybrid):
    whole = hybrid.class_probabilities(IMAGES)
    each = hybrid.class_probabilities(IMAGES, observed_rows=range(5))
    assert each.shape == (12, 5, 3)
    np.testing.assert_allclose(each[:, 4], whole, atol=1e-5)
    np.testing.assert_array_equal(hybrid.class_probabilities(IMAGES, observed_rows=2), each[:, 2])
    np.testing.assert_array_equal(
        hybrid.class_probabilities(IMAGES, observed_rows=[3, 1]), each[:, [3, 1]]
    )
    np.testing.assert_allclose(each[:, 0], np.tile(softmax(OFFSETS), (12, 1)), rtol=1e-5)
