"""Models take and return uint8 images for any number of levels."""

import keras
import numpy as np
import pytest
import tiny
from layer_checks import randomize

from keras_pixelcnnpp.distributions.levels import quantize, to_images

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1), dtype="uint8")
LABELS = np.arange(12, dtype="int32") % 3
KEPT = quantize(IMAGES, 5)


@pytest.mark.once
def test_fitting_images_is_fitting_what_the_model_keeps_of_them():
    assert np.any(KEPT != IMAGES)
    model = tiny.untrained_pixelcnn(dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.01))
    untrained, fitted = model.get_weights(), []
    for images in (IMAGES, KEPT):
        model.set_weights(untrained)
        history = model.fit(images, LABELS, epochs=2, shuffle=False, verbose=0).history
        fitted.append([*model.get_weights(), history["loss"]])
    for received, expected in zip(*fitted, strict=True):
        np.testing.assert_array_equal(received, expected)


@pytest.mark.once
def test_all_that_is_asked_of_images_is_of_what_the_model_keeps(hybrid):
    other = (LABELS + 1) % 3
    for ask in (
        lambda images: hybrid.predict(images, verbose=0),
        lambda images: hybrid(keras.ops.convert_to_tensor(images)),
        lambda images: hybrid.log_prob(images, LABELS),
        lambda images: hybrid.class_probabilities(images, observed=[1, 4]),
        lambda images: hybrid.evidence_map(images, LABELS, other),
        lambda images: hybrid.complete(images, 2, LABELS, seed=0, verbose=0),
    ):
        received, expected = (keras.ops.convert_to_numpy(ask(some)) for some in (IMAGES, KEPT))
        np.testing.assert_array_equal(received, expected)
    received = hybrid.log_prob(IMAGES.astype("int64"), LABELS)
    np.testing.assert_array_equal(received, hybrid.log_prob(IMAGES, LABELS))


@pytest.mark.once
def test_what_comes_out_are_images(hybrid):
    sampled = hybrid.sample(np.repeat(LABELS, 4), seed=0, verbose=0)
    completed = hybrid.complete(IMAGES, 2, LABELS, seed=0, verbose=0)
    for images in (sampled, completed):
        assert images.dtype == np.uint8
        assert set(np.unique(images)) <= set(to_images(np.arange(5), 5).tolist())
    assert sampled.max() == 255
    np.testing.assert_array_equal(completed[:, :2], KEPT[:, :2])
    back = hybrid.decompress(hybrid.compress(IMAGES, LABELS, verbose=0), verbose=0)
    np.testing.assert_array_equal(back, KEPT)


DEEP = np.random.default_rng(1).integers(0, 4096, (6, 4, 4, 1), dtype="uint16")


@pytest.fixture(scope="module")
def deep():
    model = tiny.untrained_pixelcnn(num_levels=4096, head="logistic_mixture")
    model.compile("adam")
    model.fit(DEEP, LABELS[:6], verbose=0)
    randomize(model.network, scale=0.1)
    return model


class TestDeep:
    """Images of 12 bits: uint16, which are the levels themselves."""

    def test_every_level_has_its_probability(self, deep):
        """Checks the last pixel, on which no other pixel depends."""
        levels = np.r_[0:4096].astype("uint16")
        images = np.tile(DEEP[:1], (4096, 1, 1, 1))
        images[:, -1, -1, 0] = levels
        log_probs = deep.pixel_log_probs(images, 1, batch_size=512)
        assert np.exp(log_probs[:, -1, -1].astype("float64")).sum() == pytest.approx(1, abs=1e-3)
        assert log_probs.sum(axis=(1, 2)) == pytest.approx(deep.log_prob(images, 1), rel=1e-5)
        bits = deep.bits_per_dim(DEEP)
        assert bits == pytest.approx(-deep.log_prob(DEEP, -1) / 16 / np.log(2), rel=1e-5)

    @pytest.mark.once
    def test_come_out_as_they_went_in(self, deep):
        sampled = deep.sample(np.repeat(LABELS[:6], 4), seed=0, verbose=0)
        guided = deep.sample(LABELS[:6], seed=0, guidance=1.0, verbose=0)
        completed = deep.complete(DEEP, 2, LABELS[:6], seed=0, verbose=0)
        back = deep.decompress(deep.compress(DEEP, LABELS[:6], verbose=0), verbose=0)
        for images in (sampled, guided, completed, back):
            assert images.dtype == np.uint16
            assert 255 < images.max() < 4096
        assert len(np.unique(sampled)) > 50
        np.testing.assert_array_equal(completed[:, :2], DEEP[:, :2])
        np.testing.assert_array_equal(back, DEEP)

    @pytest.mark.once
    def test_a_file_is_as_long_as_its_likelihood(self, deep):
        images = deep.sample(LABELS, seed=1, verbose=0)
        ideal = -deep.log_prob(images, LABELS).sum() / np.log(2) / 8
        data = deep.compress(images, LABELS, verbose=0)
        twice = deep.compress(np.tile(images, (2, 1, 1, 1)), np.tile(LABELS, 2), verbose=0)
        # The header cancels; the label and the end of a stream take up to 3 bytes.
        assert ideal < len(twice) - len(data) < ideal + 3 * len(images)
