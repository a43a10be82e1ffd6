"""Tests of `sample` and `complete`: seeds, known pixels, errors. For laws, see test_enumeration."""

import enumeration
import keras
import numpy as np
import pytest

from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.sampling.sampler import PixelSampler

LABELS = np.array([0, 1, 1, 0, 1, -1, 0])
IMAGES = to_images(np.random.default_rng(3).integers(0, 4, (7, 2, 2, 1)), 4)


@pytest.fixture(scope="module")
def model():
    return enumeration.enumerable_model()


def test_seed_and_place_determine_a_image_whatever_the_batch_size(model):
    first = model.sample(LABELS, seed=5)
    assert (first.shape, first.dtype) == ((7, 2, 2, 1), np.uint8)
    assert model.sample(np.zeros(0, int)).shape == (0, 2, 2, 1)
    np.testing.assert_array_equal(model.sample([1], seed=0), model.sample(1, seed=0))
    np.testing.assert_array_equal(model.sample(LABELS, seed=5), first)
    again = model.sample(LABELS, seed=5, batch_size=3, verbose=0)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(model.sample(LABELS[:3], seed=5), first[:3])
    assert np.any(model.sample(LABELS, seed=6) != first)


@pytest.mark.once
def test_a_mask_for_each_image(model):
    counts = np.array([0, 1, 2, 3, 4, 1, 2])
    masks = (np.arange(4) < counts[:, None]).reshape(7, 2, 2)
    completed = model.complete(IMAGES, masks, LABELS, seed=0)
    np.testing.assert_array_equal(completed[masks], IMAGES[masks])
    # If no pixels are known, completing is sampling.
    np.testing.assert_array_equal(completed[0], model.sample(LABELS, seed=0)[0])
    for index, mask in enumerate(masks):
        alone = model.complete(IMAGES, mask, LABELS, seed=0)[index]
        np.testing.assert_array_equal(completed[index], alone)


def test_samples_follow_weights_that_change(model):
    """The compiled sampler must not contain the weights of its first call."""
    head = model.network.head.bias
    before = model.sample(LABELS, seed=0, temperature=1e-3)
    old = np.array(head.numpy() if hasattr(head, "numpy") else head)
    means = np.zeros_like(old)
    means[2:4] = 10.0
    head.assign(old + means)
    brighter = model.sample(LABELS, seed=0, temperature=1e-3)
    head.assign(old)
    assert np.all(brighter == 255)
    np.testing.assert_array_equal(model.sample(LABELS, seed=0, temperature=1e-3), before)


@pytest.mark.once
def test_without_a_seed_each_call_samples_other_images(model):
    first, second = (model.sample([0, 1, -1] * 4, verbose=0) for _ in range(2))
    assert not np.array_equal(first, second)
    keras.utils.set_random_seed(3)
    one = model.sample([0, 1, -1], verbose=0)
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(model.sample([0, 1, -1], verbose=0), one)


@pytest.mark.tensorflow
@pytest.mark.jax
def test_later_calls_do_not_run_the_model_in_python(monkeypatch):
    """Other labels or another number of labels do not trace the sampler again."""
    calls = []
    original = PixelSampler.__call__

    def counted(self, inputs):
        calls.append(self)
        return original(self, inputs)

    monkeypatch.setattr(PixelSampler, "__call__", counted)
    model, labels = enumeration.enumerable_model(), np.arange(16) % 2
    images = model.sample(labels, seed=1)
    assert len(calls) == 1
    assert np.any(model.sample(labels[::-1], seed=1) != images)
    for count in (5, 9, 13):
        np.testing.assert_array_equal(model.sample(labels[:count], seed=1), images[:count])
    assert len(calls) == 1
