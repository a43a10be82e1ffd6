"""Tests of likelihoods, posteriors and bits/dim."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tiny
from scipy.special import log_softmax, logsumexp
from scipy.stats import t as student_t
from tiny import IMAGES, LABELS

from keras_pixelcnnpp.models import scoring
from keras_pixelcnnpp.utils import memory

OFFSETS = [0.1, -0.2, 0.4]  # the class biases of `hybrid`


def test_posterior_and_bits_per_dim(hybrid):
    scores = hybrid.class_log_likelihoods(IMAGES).astype("float64")
    expected = np.exp(log_softmax(0.3 * scores + OFFSETS, axis=1))
    np.testing.assert_allclose(hybrid.class_probabilities(IMAGES), expected, rtol=1e-4, atol=1e-6)
    bits = -(logsumexp(scores, axis=1) - np.log(3)) / (16 * np.log(2))
    np.testing.assert_allclose(hybrid.bits_per_dim(IMAGES), bits, rtol=1e-5)


@pytest.mark.parametrize("padded", [pytest.param(False, marks=pytest.mark.once), True])
def test_an_image_has_its_score_in_every_batch(hybrid, padded, monkeypatch):
    """Scores do not depend on the number of images or the padding; XLA compiles six sizes."""
    sizes, make = set(), scoring.array_batches

    def counted(inputs, batch_size, pad):
        batches = make(inputs, batch_size, padded)
        sizes.update(len(batch["images"]) for batch in batches)
        return batches

    images, labels = np.resize(IMAGES, (100, 4, 4, 1)), np.resize(LABELS, 100)
    expected = hybrid.log_prob(images, labels, batch_size=100)
    monkeypatch.setattr(scoring, "array_batches", counted)
    for count in (1, 2, 3, 5, 12, 31, 32, 33, 70, 100):
        received = hybrid.log_prob(images[:count], labels[:count])
        np.testing.assert_allclose(received, expected[:count], rtol=1e-5)
    if padded:
        assert sizes == {1, 2, 4, 8, 16, 32}


@pytest.mark.once
def test_classes_in_parts_that_bound_the_memory(hybrid, monkeypatch):
    """At most two classes are evaluated at once, in scores of arrays and in calls of the model."""
    whole, rows = hybrid.class_log_likelihoods(IMAGES), np.arange(5)
    by_rows = hybrid.class_log_likelihoods(IMAGES, observed=rows)
    probabilities = hybrid.class_probabilities(IMAGES)
    width = max(*hybrid.widths, hybrid.distribution.num_parameters)
    monkeypatch.setattr(memory, "MAX_LAYER_BYTES", 4 * 2 * 16 * width)
    sizes, evaluate = [], type(hybrid).pixel_parameters

    def watched(self, images, values=None, training=False):
        sizes.append(values["label"].shape[1] * (images.shape[0] or 1))
        return evaluate(self, images, values, training)

    monkeypatch.setattr(type(hybrid), "pixel_parameters", watched)
    hybrid.compiled_functions.clear()
    np.testing.assert_allclose(hybrid.class_log_likelihoods(IMAGES), whole, rtol=3e-6)
    received = hybrid.class_log_likelihoods(IMAGES, observed=rows)
    np.testing.assert_allclose(received, by_rows, rtol=3e-6)
    # Differences of scores, and thus posteriors, agree to twice this tolerance. A posterior may
    # underflow in float32.
    error = 2 * 3e-6 * np.abs(whole).max()
    close = functools.partial(
        np.testing.assert_allclose, rtol=error, atol=np.finfo(np.float32).tiny
    )
    hybrid.predict_function = None
    close(hybrid.predict(IMAGES, batch_size=2, verbose=0), probabilities)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(hybrid(IMAGES[:2])), whole[:2], rtol=3e-6)
    hybrid.compile("sgd")
    hybrid.evaluate(IMAGES, LABELS, batch_size=2, verbose=0)
    assert max(sizes) <= 2
    hybrid.predict_function = hybrid.test_function = None
    hybrid.compiled_functions.clear()


@pytest.mark.tensorflow
def test_large_batches_of_predict_in_parts_that_bound_the_memory(hybrid, monkeypatch):
    """TensorFlow does not know the batch size when it traces the function."""
    import tensorflow as tf

    images = np.resize(IMAGES, (25, 4, 4, 1))
    expected, sizes = hybrid.class_probabilities(images), []
    width = max(*hybrid.widths, hybrid.distribution.num_parameters)
    monkeypatch.setattr(memory, "MAX_LAYER_BYTES", 4 * 12 * 16 * width)  # 4 images × 3 classes
    evaluate = type(hybrid).pixel_parameters

    def watched(self, images, labels=None, training=False):
        tf.numpy_function(sizes.append, [tf.shape(images)[0]], [])
        return evaluate(self, images, labels, training)

    monkeypatch.setattr(type(hybrid), "pixel_parameters", watched)
    hybrid.predict_function = None
    found = hybrid.predict(images, batch_size=23, verbose=0)
    hybrid.predict_function = None
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert max(sizes) == 4
    assert sum(sizes) <= 26  # a batch of two images is not padded


@pytest.mark.once
def test_no_image_at_all(hybrid):
    assert hybrid.log_prob(IMAGES[:0], LABELS[:0]).shape == (0,)
    assert hybrid.class_log_likelihoods(IMAGES[:0]).shape == (0, 3)
    assert hybrid.class_probabilities(IMAGES[:0]).shape == (0, 3)
    assert hybrid.log_prob(IMAGES[:0], []).shape == (0,)
    mask = np.zeros((4, 4), bool)
    assert hybrid.class_log_likelihoods(IMAGES[:0], observed=mask).shape == (0, 3)
    assert hybrid.complete(IMAGES[:0], mask, LABELS[:0], seed=0).shape == (0, 4, 4, 1)


@pytest.mark.once
def test_bits_of_a_part_are_divided_by_its_sub_pixels(hybrid):
    parts = hybrid.class_log_likelihoods(IMAGES, observed=3)
    marginal = np.logaddexp.reduce(parts.astype("float64"), axis=1) - np.log(hybrid.num_classes)
    expected = -marginal / (3 * 4 * np.log(2))
    np.testing.assert_allclose(hybrid.bits_per_dim(IMAGES, observed=3), expected, rtol=1e-6)
    mask = np.arange(16).reshape(4, 4) < 12
    for given in (mask, mask.astype("uint8"), mask.astype("float32")):
        received = hybrid.bits_per_dim(IMAGES, observed=given)
        np.testing.assert_allclose(received, expected, rtol=1e-6)


@pytest.mark.once
def test_bits_of_nothing_are_refused(hybrid):
    nothing_of_one = np.ones((12, 4, 4, 1), bool)
    nothing_of_one[3] = False
    for observed, count in ((0, 12), (np.zeros((4, 4), bool), 12), (nothing_of_one, 1)):
        with pytest.raises(ValueError, match=f"Received: {count} of 12 images without any"):
            hybrid.bits_per_dim(IMAGES, observed=observed)


@pytest.mark.once
@pytest.mark.parametrize("spread", [0.3, 3.0, 15.0])
def test_standard_errors_of_simulated_estimates(hybrid, monkeypatch, rng, spread):
    """They have the size of the deviations: 0.1, 1.7 and 9 nats. Small ones follow a t law."""

    def simulated(model, labels, options, images, known, num_particles):
        return images, rng.normal(scale=spread, size=len(images)).astype("float32")

    monkeypatch.setattr(scoring, "sample_images", simulated)
    mask = np.arange(16).reshape(4, 4) > 3
    images = np.zeros((3000, 4, 4, 1), "uint8")
    how = {"observed": mask, "standard_error": True}
    scores, errors = hybrid.class_log_likelihoods(images, **how)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(scores.std(), rel=0.15)
    deviations = (scores - scores.mean()) / errors
    outside = np.mean(np.abs(deviations) > student_t.ppf(0.975, 7))
    assert outside < (0.08 if spread < 1 else 0.3)
    bits, of_bits = hybrid.bits_per_dim(images, **how)
    assert np.sqrt(np.mean(of_bits**2)) == pytest.approx(bits.std(), rel=0.3)
    probabilities, of_probabilities = hybrid.class_probabilities(images, **how)
    assert probabilities.shape == of_probabilities.shape == (3000, 3)
    assert (hybrid.class_log_likelihoods(images[:2], standard_error=True)[1] == 0).all()


CALLS = {
    "sample": lambda model: model.sample(LABELS[:5], seed=0, batch_size=4),
    "log_prob": lambda model: model.log_prob(IMAGES, LABELS),
    "classes": lambda model: model.class_probabilities(IMAGES),
    "evidence": lambda model: model.evidence_map(IMAGES, LABELS, 0),
}


def test_threads_get_what_one_alone_gets():
    """Four threads use one model concurrently from its first call on."""
    alone, model = tiny.tiny_model(), tiny.tiny_model()
    model.set_weights(alone.get_weights())
    start = threading.Barrier(4)

    def work(number):
        names = list(CALLS)
        start.wait()
        return {name: CALLS[name](model) for name in names[number:] + names[:number]}

    with ThreadPoolExecutor(4) as pool:
        received = list(pool.map(work, range(4)))
    for name, call in CALLS.items():
        expected = call(alone)
        for results in received:
            np.testing.assert_allclose(results[name], expected, rtol=1e-5, atol=1e-5)
