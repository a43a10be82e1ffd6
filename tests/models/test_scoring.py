"""Likelihoods, and the posterior and bits/dim that follow from them."""

import logging

import enumeration
import numpy as np
import pytest
import tiny
from keras import ops
from scipy.special import log_softmax, logsumexp

from keras_pixelcnnpp.conditioning import STRATEGIES
from keras_pixelcnnpp.data.batches import ArrayBatches

SPLIT = tiny.tiny_split(12)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
DIMENSIONS = 16


@pytest.mark.parametrize("label", [0, 1, enumeration.NO_LABEL])
def test_all_pictures_sum_to_one(label):
    model = enumeration.enumerable_model()
    log_probs = model.log_prob(enumeration.all_pictures(), np.full(256, label), batch_size=256)
    assert np.exp(log_probs.astype("float64")).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("conditioning", ["+".join(STRATEGIES), "none"])
@pytest.mark.parametrize("image_shape", [(2, 2, 1), (1, 2, 2), (1, 1, 4)])
def test_all_pictures_sum_to_one_whatever_the_shape(image_shape, conditioning):
    model = enumeration.enumerable_model(image_shape, conditioning=conditioning)
    pictures = enumeration.all_pictures(image_shape)
    log_probs = model.log_prob(pictures, np.ones(256, int), batch_size=256)
    assert np.exp(log_probs.astype("float64")).sum() == pytest.approx(1, abs=1e-5)


def test_class_log_likelihoods_are_the_single_labels(model):
    together = model.class_log_likelihoods(IMAGES)
    assert together.shape == (12, 3)
    assert together.dtype == np.float32
    for label in range(3):
        alone = model.log_prob(IMAGES, np.full(12, label))
        np.testing.assert_allclose(together[:, label], alone, rtol=1e-5)
    assert np.ptp(together, axis=1).min() > 1e-3  # labels do make a difference


def test_candidates_are_the_single_labels(model):
    candidates = np.array([[2, 0, 3, 1]] * 12)
    parameters = ops.convert_to_numpy(model({"image": IMAGES, "label": candidates}))
    assert parameters.shape == (12, 4, 4, 4, model.network.num_parameters)
    for column, label in enumerate(candidates[0]):
        alone = model({"image": IMAGES, "label": np.full(12, label)})
        alone = ops.convert_to_numpy(alone)[:, 0]
        np.testing.assert_allclose(parameters[:, column], alone, rtol=1e-4, atol=1e-5)


def test_without_a_strategy_labels_make_no_difference():
    model = tiny.random_model(conditioning="none")
    scores = model.class_log_likelihoods(IMAGES)
    assert scores.shape == (12, 3)
    np.testing.assert_array_equal(scores, np.repeat(scores[:, :1], 3, axis=1))


def test_posterior_and_bits_per_dim(hybrid):
    scores = hybrid.class_log_likelihoods(IMAGES).astype("float64")
    expected = np.exp(log_softmax(0.3 * scores + [0.1, -0.2, 0.4], axis=1))
    np.testing.assert_allclose(hybrid.class_probabilities(IMAGES), expected, rtol=1e-4, atol=1e-6)
    bits = -(logsumexp(scores, axis=1) - np.log(3)) / (DIMENSIONS * np.log(2))
    np.testing.assert_allclose(hybrid.bits_per_dim(IMAGES), bits, rtol=1e-5)


def test_tensors_for_export_agree_with_arrays(hybrid):
    images = ops.convert_to_tensor(IMAGES)
    tensors = {
        name: ops.convert_to_numpy(value)
        for name, value in hybrid.posterior_tensors(images).items()
    }
    np.testing.assert_allclose(
        tensors["log_likelihood"], hybrid.class_log_likelihoods(IMAGES), rtol=1e-5
    )
    np.testing.assert_allclose(
        tensors["probabilities"], hybrid.class_probabilities(IMAGES), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(tensors["bits_per_dim"], hybrid.bits_per_dim(IMAGES), rtol=1e-5)
    log_prob = hybrid.log_prob_tensors(images, ops.convert_to_tensor(LABELS))
    np.testing.assert_allclose(
        ops.convert_to_numpy(log_prob), hybrid.log_prob(IMAGES, LABELS), rtol=1e-5
    )


@pytest.mark.parametrize("batch_size", [0, -3, 2.5])
def test_bad_batch_size(model, batch_size):
    for method in (model.class_probabilities, model.bits_per_dim):
        with pytest.raises(ValueError, match=r"`batch_size`\. Expected a positive"):
            method(IMAGES, batch_size=batch_size)


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


def test_no_advice_of_tensorflows(model):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    try:
        for candidates in range(2, 9):  # a scorer of its own each
            labels = np.zeros((len(IMAGES), candidates), int)
            model._score({"image": IMAGES, "label": labels}, 100, verbose=0)
            model.runners.samplers.clear()  # as of another model
            model.sample([0])
    finally:
        logger.removeHandler(handler)
    assert not records


def test_no_picture_at_all(model):
    assert model.log_prob(IMAGES[:0], LABELS[:0]).shape == (0,)
    assert model.class_log_likelihoods(IMAGES[:0]).shape == (0, 3)
    assert model.class_probabilities(IMAGES[:0]).shape == (0, 3)
    assert model.predict(IMAGES[:0], verbose=0).shape == (0, 3)
    assert model.log_prob(IMAGES[:0], []).shape == (0,)
    for name in ("fit", "evaluate"):
        with pytest.raises(ValueError, match=f"`{name}` needs pictures. Received: none"):
            getattr(model, name)(IMAGES[:0], LABELS[:0])


def test_classes_of_a_model_that_knows_none():
    model = tiny.tiny_model(num_classes=0, conditioning="none")
    for method in (model.class_log_likelihoods, model.class_probabilities):
        with pytest.raises(ValueError, match="needs classes; this model knows none"):
            method(IMAGES)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:, :3], LABELS, r"`images`. Expected \(None, 4, 4, 1\). Received.*\(12, 3, 4, 1\)"),
        (IMAGES[0], LABELS, "`images`"),
        (IMAGES.astype("float32"), LABELS, "`images`. Expected uint8.*float32"),
        (IMAGES + 1, LABELS, "`images`. Expected levels from 0 to 4.*from 1 to 5"),
        (IMAGES.astype("int32") - 1, LABELS, "`images`"),
        (IMAGES, LABELS[:5], "`labels`. Expected 12 integers"),
        (IMAGES, LABELS + 2, "`labels`. Expected integers from 0 to 2.*from 2 to 4"),
        (IMAGES, LABELS - 1, "`labels`"),
        (IMAGES, LABELS + 0.5, "`labels`"),
        (IMAGES, None, "`labels`"),
    ],
)
def test_bad_inputs_of_log_prob(model, images, labels, message):
    with pytest.raises(ValueError, match=message):
        model.log_prob(images, labels)
