import numpy as np
import pytest
from keras import ops
from layer_checks import randomize, run, weights_of
from reference_network import ReferencePixelCNN
from serialization import check_config

from keras_pixelcnnpp.layers.gated_residual import ResidualStack


@pytest.mark.parametrize(("shift", "columns"), [("down", (-1, 0, 1)), ("down_right", (-1, 0))])
@pytest.mark.parametrize(("filters", "num_blocks"), [((3,), 2), ((3, 4), 1), ((2, 3, 4), 1)])
def test_equals_numpy(rng, shift, columns, filters, num_blocks):
    stack = ResidualStack(filters, (num_blocks,) * len(filters), shift)
    x = rng.normal(size=(1, 1, 4, 8, filters[0])).astype("float32")
    stack(x)
    randomize(stack, scale=0.3)
    weights = {f"stack/{path}": value for path, value in weights_of(stack).items()}
    reference = ReferencePixelCNN(weights, num_blocks, len(filters), 2)
    expected = reference.stream("stack", x[0, 0].astype("float64"), columns, links=None)
    received = stack(x)
    assert list(received) == list(expected) == [block.name for block in stack.blocks()]
    for name, output in received.items():
        picture = ops.convert_to_numpy(output)[0, 0]
        np.testing.assert_allclose(picture, expected[name], rtol=1e-4, atol=1e-4)


def test_number_of_blocks():
    """As in the paper: on the way up one block more than down, but not at the lowest."""
    names = [block.name for block in ResidualStack((4, 4, 4), num_blocks=(2, 2, 2)).blocks()]
    down = [f"down_{level}_{index}" for level in range(3) for index in range(2)]
    up = ["up_2_0", "up_2_1", "up_1_0", "up_1_1", "up_1_2", "up_0_0", "up_0_1", "up_0_2"]
    assert names == down + up


def test_number_of_blocks_at_each_resolution():
    names = [block.name for block in ResidualStack((4, 4), num_blocks=(1, 3)).blocks()]
    down = ["down_0_0", "down_1_0", "down_1_1", "down_1_2"]
    assert names == [*down, "up_1_0", "up_1_1", "up_1_2", "up_0_0", "up_0_1"]


def test_work_before_the_label_is_done_once(rng):
    """On the way down there is one candidate, though the label has three."""
    x, labels = rng.normal(size=(2, 1, 4, 4, 3)).astype("float32"), np.array([[0, 1, 2]] * 2)
    candidates = {}
    for conditioned_blocks in ("all", "up"):
        stack = ResidualStack(
            (3, 4),
            (1, 1),
            conditioning="bias",
            num_classes=3,
            conditioned_blocks=conditioned_blocks,
        )
        outputs = stack(x, labels=labels)
        candidates[conditioned_blocks] = [output.shape[1] for output in outputs.values()]
    assert candidates == {"all": [3, 3, 3, 3, 3], "up": [1, 1, 3, 3, 3]}


def test_round_trip(rng):
    stack = ResidualStack((3, 4), (1, 1), conditioning="bias", num_classes=2)
    x, labels = rng.normal(size=(2, 1, 4, 4, 3)).astype("float32"), np.array([[0, 1], [2, 0]])
    output = run(last(stack), x, labels=labels)
    assert output.shape == (2, 2, 4, 4, 3)
    restored = ResidualStack.from_config(stack.get_config())
    restored(x, labels=labels)
    restored.set_weights(stack.get_weights())
    np.testing.assert_array_equal(run(last(restored), x, labels=labels), output)


def test_config():
    check_config(
        ResidualStack,
        filters=(3, 4),
        num_blocks=(2, 1),
        shift="down_right",
        dropout_rate=0.3,
        conditioning="bias",
        num_classes=4,
        conditioned_blocks="up",
    )


def test_mixed_precision(rng):
    x = rng.normal(size=(2, 1, 4, 4, 3)).astype("float32")
    exact = ResidualStack((3, 4), (1, 1))
    exact(x)
    mixed = ResidualStack((3, 4), (1, 1), dtype="mixed_bfloat16")
    mixed(x)
    mixed.set_weights(exact.get_weights())
    output = mixed(x)["up_0_1"]
    assert "bfloat16" in str(output.dtype)
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    np.testing.assert_allclose(run(last(mixed), x), run(last(exact), x), atol=0.1)


def last(stack):
    """The stream's result alone."""
    return lambda *inputs, **arguments: stack(*inputs, **arguments)["up_0_1"]
