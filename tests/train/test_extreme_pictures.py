"""Pictures that a likelihood could choke on: no noise to model at all, or nothing but noise."""

import keras
import numpy as np
import pytest

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.train.checkpoints import Checkpoints, Progress
from keras_pixelcnnpp.train.loop import Phase, fit

SHAPE = (400, 4, 4, 3)
PICTURES = {
    "black": np.zeros(SHAPE, "uint8"),
    "constant": np.full(SHAPE, 100, "uint8"),
    "saturated": np.random.default_rng(0).choice([0, 255], SHAPE).astype("uint8"),
    "noise": np.random.default_rng(0).integers(0, 256, SHAPE, "uint8"),
}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_training_stays_finite(tmp_path, precision):
    """A learning rate fifty times what a preset has, so that log-scales reach their floor."""
    keras.config.set_dtype_policy(precision)
    model = PixelCNNPlusPlus(
        image_shape=SHAPE[1:],
        num_classes=2,
        filters=4,
        num_resolutions=1,
        num_mixtures=2,
        conditioning="bias",
        label_loss_weight=1.0,
    )
    model.compile(keras.optimizers.Adam(0.05))
    model.optimizer.build(model.trainable_variables)
    untrained = Checkpoints(tmp_path / "untrained")
    untrained.save(model, Progress())
    labels = np.arange(SHAPE[0]) % 2
    bits = {}
    for kind, images in PICTURES.items():
        untrained.restore(model)
        model.initialize(images[:64], labels[:64])
        batches = ImageSequence(images, labels, batch_size=8, num_classes=2, num_candidates=2)
        # Raises NonFiniteError at the first number that isn't finite.
        fit(model, [Phase(batches, 2)], Checkpoints(tmp_path / kind), verbose=0)
        for variable in model.weights:
            assert np.isfinite(variable_value(variable)).all(), kind
        bits[kind] = model.bits_per_dim(images[:16])
        assert np.isfinite(bits[kind]).all(), kind
    # What there is to learn: an edge costs little, two values a bit, and of noise 8 bits remain.
    assert bits["black"].mean() < 1
    assert bits["saturated"].mean() == pytest.approx(1, abs=0.1)
    assert bits["noise"].mean() > 7.9
