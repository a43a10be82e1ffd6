import numpy as np
import pytest
from keras import ops
from layer_checks import check_layer, randomize, run, weights_of
from reference_network import ReferencePixelCNN
from serialization import check_config

from keras_pixelcnnpp.conditioning import STRATEGIES
from keras_pixelcnnpp.layers.gated_residual import GatedResidualBlock
from keras_pixelcnnpp.layers.weight_normalized import WeightNormalized

SHAPE = (2, 1, 4, 6, 3)


def features(rng, *shape):
    return rng.normal(size=shape or SHAPE).astype("float32")


def reference(layer, conditioning="none"):
    """The same block in float64 NumPy."""
    weights = {f"block/{path}": value for path, value in weights_of(layer).items()}
    return ReferencePixelCNN(weights, 1, 1, 2, conditioning)


@pytest.mark.parametrize(("shift", "columns"), [("down", (-1, 0, 1)), ("down_right", (-1, 0))])
@pytest.mark.parametrize("has_shortcut", [False, True])
def test_equals_numpy(rng, shift, columns, has_shortcut):
    layer = GatedResidualBlock(3, shift=shift)
    x, link = features(rng), features(rng)
    shortcut = features(rng, 2, 1, 4, 6, 5) if has_shortcut else None
    inputs = (x, shortcut, link) if has_shortcut else (x,)
    call_arguments = {} if has_shortcut else {"link": ops.convert_to_tensor(link)}
    run(layer, *inputs, **call_arguments)
    randomize(layer)
    received = run(layer, *inputs, **call_arguments)
    for index in range(2):
        expected = reference(layer).block(
            "block",
            x[index, 0],
            columns,
            shortcut[index, 0] if has_shortcut else None,
            link[index, 0],
        )
        np.testing.assert_allclose(received[index, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("conditioning", ["bias", "film", "adaptive_norm", "bias+film"])
def test_label_enters_where_its_strategy_says(rng, conditioning):
    layer = GatedResidualBlock(3, conditioning=conditioning, num_classes=2)
    x = features(rng)
    labels = ops.convert_to_tensor([[0, 1, 2], [2, 0, 1]])
    run(layer, x, labels=labels)
    randomize(layer)
    received = run(layer, x, labels=labels)
    assert received.shape == (2, 3, 4, 6, 3)
    block = reference(layer, conditioning)
    for index, row in enumerate([[0, 1, 2], [2, 0, 1]]):
        for candidate, label in enumerate(row):
            block.label = label
            expected = block.block("block", x[index, 0], (-1, 0, 1), None, 0)
            np.testing.assert_allclose(received[index, candidate], expected, rtol=1e-4, atol=1e-4)


def test_starts_near_the_identity(rng):
    x = features(rng)
    change = run(GatedResidualBlock(3), x) - x
    assert 0 < np.abs(change).mean() < 0.2 * np.abs(x).mean()


def test_dropout_is_active_in_training_only(rng):
    layer = GatedResidualBlock(3, dropout_rate=0.5)
    x = features(rng)
    np.testing.assert_array_equal(run(layer, x), run(layer, x))
    trained = [run(layer, x, training=True) for _ in range(2)]
    assert np.any(trained[0] != trained[1])


def test_candidates_share_the_noise(rng):
    layer = GatedResidualBlock(3, dropout_rate=0.5, conditioning="bias", num_classes=3)
    same = ops.convert_to_tensor([[1, 1, 1], [2, 2, 2]])
    output = run(layer, features(rng), labels=same, training=True)
    np.testing.assert_array_equal(output, np.repeat(output[:, :1], 3, axis=1))


@pytest.mark.parametrize("shift", ["down", "down_right"])
def test_as_a_layer(rng, shift):
    check_layer(GatedResidualBlock, {"filters": 3, "shift": shift}, [features(rng)], SHAPE)


def test_config():
    check_config(
        GatedResidualBlock,
        filters=3,
        shift="down_right",
        dropout_rate=0.3,
        conditioning="+".join(STRATEGIES),
        num_classes=4,
    )


def test_no_layer_is_left_unbuilt(rng):
    """An unbuilt layer would make Keras run the model uncompiled before every `predict`."""
    layer = GatedResidualBlock(3)
    run(layer, features(rng))
    parts = layer._flatten_layers()
    assert all(part.built for part in parts)
    assert sum(isinstance(part, WeightNormalized) for part in parts) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shift": "up"}, r"`shift`\. Expected one of: down, down_right\. Received: shift='up'"),
        ({"filters": 0}, "`filters`"),
        ({"dropout_rate": 1.0}, "`rate`"),
        ({"conditioning": "magic", "num_classes": 2}, "`conditioning`"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedResidualBlock(**{"filters": 4, **arguments})
