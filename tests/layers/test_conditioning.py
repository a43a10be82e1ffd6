"""Compares each conditioning strategy with its equation in NumPy, and tests their names."""

import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import run

from keras_pixelcnnpp import PixelCNN, PixelCNNPlusPlus
from keras_pixelcnnpp.layers.conditioning import (
    STRATEGIES,
    EmbeddingConditioning,
    MixtureHeadConditioning,
)

NUM_CLASSES = 3
LABELS = np.array([[2, 0, 2, 1], [1, 1, 2, 0]])
SHAPE = (2, 1, 4, 6, 5)
FEATURES = np.random.default_rng(1).normal(size=(2, 1, 4, 6, 7)).astype("float32")


@pytest.fixture
def x(rng):
    return (10 + 3 * rng.normal(size=SHAPE)).astype("float32")


def needs(name):
    """Returns the further arguments of the call."""
    return {"features": ops.convert_to_tensor(FEATURES)} if name == "mixture_head" else {}


@pytest.mark.parametrize("name", ["film", "spatial", "cross_attention", "mixture_head"])
def test_starts_without_effect(x, name):
    """A strategy that starts at zero can be added to a trained network without harm."""
    layer = STRATEGIES[name](NUM_CLASSES)
    if name == "mixture_head":
        layer.build(x.shape, LABELS.shape, FEATURES.shape)
    received = run(layer, x, LABELS, **needs(name))
    np.testing.assert_allclose(received, np.repeat(x, 4, axis=1), rtol=1e-6)


def test_mixture_head_stays_in_float32(x):
    layer = MixtureHeadConditioning(NUM_CLASSES, dtype="mixed_bfloat16")
    layer.build(x.shape, LABELS.shape, FEATURES.shape)
    output = layer(ops.convert_to_tensor(x), LABELS, **needs("mixture_head"))
    assert keras.backend.standardize_dtype(output.dtype) == "float32"


@pytest.mark.parametrize(
    ("cls", "place"), [(PixelCNNPlusPlus, "gates"), (PixelCNN, "bottleneck"), (PixelCNN, None)]
)
def test_a_strategy_for_a_place_that_does_not_exist(monkeypatch, cls, place):
    class Mine(EmbeddingConditioning):
        pass

    Mine.place = place
    monkeypatch.setitem(STRATEGIES, "mine", Mine)
    with pytest.raises(ValueError, match="which this network supports"):
        cls((4, 4, 1), 2, 4, filters=4, num_blocks=1, conditioning="bias+mine")
