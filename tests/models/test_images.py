"""Models take and return uint8 images for any number of levels."""

import keras
import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.distributions.levels import quantize

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1), dtype="uint8")
LABELS = np.arange(12, dtype="int32") % 3
KEPT = quantize(IMAGES, 5)


@pytest.mark.once
def test_what_is_done_with_images_is_done_with_what_the_model_keeps(hybrid):
    assert np.any(KEPT != IMAGES)
    hybrid.compile(keras.optimizers.SGD(0.0))
    for ask in (
        lambda images: hybrid.fit(images, LABELS, verbose=0).history["loss"],
        lambda images: hybrid.predict(images, verbose=0),
        lambda images: hybrid(keras.ops.convert_to_tensor(images)),
        lambda images: hybrid.log_prob(images, LABELS),
        lambda images: hybrid.class_probabilities(images, observed=[1, 4]),
        lambda images: hybrid.evidence_map(images, LABELS, (LABELS + 1) % 3),
        lambda images: hybrid.complete(images, 2, LABELS, seed=0, verbose=0),
    ):
        received, expected = (keras.ops.convert_to_numpy(ask(some)) for some in (IMAGES, KEPT))
        np.testing.assert_array_equal(received, expected)


def test_every_one_of_4096_levels_has_its_probability():
    """Checks the last pixel, on which no other pixel depends."""
    model = tiny.tiny_model(tiny.untrained_pixelcnn, num_levels=4096, head="logistic_mixture")
    images = np.tile(IMAGES[:1].astype("uint16") * 16, (4096, 1, 1, 1))
    images[:, -1, -1, 0] = np.arange(4096)
    log_probs = model.pixel_log_probs(images, 1, batch_size=512)
    assert np.exp(log_probs[:, -1, -1].astype("float64")).sum() == pytest.approx(1, abs=1e-3)
    assert log_probs.sum(axis=(1, 2)) == pytest.approx(model.log_prob(images, 1), rel=1e-5)
