"""Tests shape, configuration and mixed precision of every layer, and invalid arguments.

The golden test compares the conditioning strategies with their equations.
"""

import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer, run
from refused import each

from keras_pixelcnnpp import PixelCNN, PixelCNNPlusPlus, conditions, layers
from keras_pixelcnnpp.layers import conditioning
from keras_pixelcnnpp.layers.convolutions import WeightNormalizedDense
from keras_pixelcnnpp.layers.network_config import NetworkConfig

pytestmark = pytest.mark.once

IMAGES, FEATURES = (2, 3, 5, 7, 2), (2, 1, 4, 6, 3)
SHIFTED = {"filters": 4, "kernel_size": (3, 5), "initial_scale": 0.5}
TABLE = [
    (layers.DownShiftedConv2D, {**SHIFTED, "strides": 2}, IMAGES, (2, 3, 3, 4, 4)),
    (layers.DownRightShiftedConv2D, {**SHIFTED, "strict": True}, IMAGES, (2, 3, 5, 7, 4)),
    (layers.DownShiftedConv2DTranspose, {"filters": 4}, IMAGES, (2, 3, 10, 14, 4)),
    (layers.DownRightShiftedConv2DTranspose, {"filters": 4}, IMAGES, (2, 3, 10, 14, 4)),
    (layers.MaskedConv2D, {**SHIFTED, "mask": "A", "groups": 2}, IMAGES, (2, 3, 5, 7, 4)),
    (WeightNormalizedDense, {"filters": 4, "initial_scale": 0.5}, IMAGES, (2, 3, 5, 7, 4)),
    (layers.SharedDropout, {"rate": 0.5, "seed": 3}, IMAGES, IMAGES),
    (
        layers.GatedResidualBlock,
        {"filters": 3, "shift": "down_right", "config": NetworkConfig(dropout_rate=0.3)},
        FEATURES,
        FEATURES,
    ),
]


@pytest.mark.parametrize(("cls", "arguments", "input_shape", "output_shape"), TABLE)
def test_layer(rng, cls, arguments, input_shape, output_shape):
    x = rng.normal(size=input_shape).astype("float32")
    check_layer(cls, arguments, [x], output_shape)


LABELS = np.int32([[2, 0, 2, 1], [1, 1, 2, 0]])
CONDITION = LABELS[..., None, None]


@pytest.mark.parametrize("name", sorted({*conditioning.STRATEGIES} - {"mixture_head"}))
def test_strategy(rng, name):
    x = rng.normal(size=FEATURES).astype("float32")
    channels = 3 + (3 if name == "one_hot" else 0)
    layer, expected = conditioning.STRATEGIES[name], (2, 4, 4, 6, channels)
    check_layer(layer, {"conditions": conditions.Labels(3)}, [x, (CONDITION,)], expected)


# A strategy that starts at zero can be added to a trained network without harm.
@pytest.mark.parametrize("name", ["film", "spatial", "cross_attention"])
def test_strategy_starts_without_effect(rng, name):
    x = (10 + 3 * rng.normal(size=FEATURES)).astype("float32")
    received = run(conditioning.STRATEGIES[name](3), x, (CONDITION,))
    np.testing.assert_allclose(received, np.repeat(x, 4, axis=1), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_mixture_head_starts_without_effect_and_stays_in_float32(rng, dtype):
    x, features = rng.normal(10, 3, (2, *FEATURES)).astype("float32")
    layer = conditioning.MixtureHeadConditioning(3, dtype=dtype)
    layer.build(x.shape, (CONDITION.shape,), features.shape)
    output = layer(ops.convert_to_tensor(x), (CONDITION,), features=ops.convert_to_tensor(features))
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    expected = np.repeat(x, 4, axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(output), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("cls", "place"), [(PixelCNNPlusPlus, "gates"), (PixelCNN, "bottleneck"), (PixelCNN, None)]
)
def test_a_strategy_for_a_place_that_does_not_exist(monkeypatch, cls, place):
    class Mine(conditioning.EmbeddingConditioning):
        pass

    Mine.place = place
    monkeypatch.setitem(conditioning.STRATEGIES, "mine", Mine)
    with pytest.raises(ValueError, match="which this network supports"):
        cls((4, 4, 1), 2, 4, filters=4, num_blocks=1, conditioning="bias+mine")


@pytest.mark.parametrize("learned", [set(), {"log_logit_scale"}, {"class_bias"}])
def test_posterior(learned):
    log_likelihood = np.float32([[-100, -102, -99, -98], [-7, -7.5, -8, -9]])
    arguments = {"num_classes": 3, "initial_logit_scale": 0.5}
    arguments["learn_logit_scale"] = "log_logit_scale" in learned
    arguments["learn_class_bias"] = "class_bias" in learned
    check_layer(layers.LabelPosterior, arguments, [log_likelihood, LABELS], (2, 4), "float32")
    layer = layers.LabelPosterior(**arguments)
    layer.build()
    assert {variable.name for variable in layer.trainable_variables} == learned


FILTERS = {"filters": 4}


def block_with(conditioning):
    config = NetworkConfig(conditioning=conditioning, conditions=conditions.conditions_of(2))
    return layers.GatedResidualBlock(4, config=config)


REFUSED = each(
    (layers.GatedResidualBlock, FILTERS, {"shift": ["up"]}),
    (block_with, {}, {"conditioning": ["magic"]}),
    (layers.SharedDropout, {}, {"rate": [1, None]}),
    (layers.DownShiftedConv2D, FILTERS, {"filters": [-1], "kernel_size": [(0, 3), (2, 2)]}),
    (layers.MaskedConv2D, FILTERS, {"kernel_size": [4], "mask": ["C"], "groups": [3]}),
    (layers.LabelPosterior, {}, {"num_classes": [0]}),
)


@pytest.mark.parametrize(("cls", "arguments", "name"), REFUSED)
def test_bad_arguments(cls, arguments, name):
    with pytest.raises(ValueError, match=name):
        cls(**arguments)


@pytest.mark.parametrize(
    ("arguments", "channels", "message"),
    [
        ({"filters": 4, "groups": 2}, 3, "multiple of groups=2"),
        ({"filters": 3, "kernel_size": 1, "mask": "A"}, 3, "does not zero"),
    ],
)
def test_masks_that_do_not_fit_the_input(arguments, channels, message):
    with pytest.raises(ValueError, match=message):
        layers.MaskedConv2D(**arguments).build((None, 4, 4, channels))
