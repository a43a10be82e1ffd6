from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tiny
from keras import ops
from receptive_field import receptive_field

from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.receptive_field import (
    count_seen,
    input_gradient,
    pixel_influence,
    typical_targets,
)


@pytest.mark.parametrize("initialized", [True, False])
def test_a_pixel_sees_what_the_shape_of_the_network_allows(rng, initialized):
    options = {**tiny.MODEL, "num_resolutions": 2}
    # With label dropout 3 is a label too: "no label".
    options["label_dropout_rate"] = 0.1
    model = PixelCNNPlusPlus((8, 8, 1), num_classes=3, num_levels=5, **options)
    images = rng.integers(0, 5, (2, 8, 8, 1)).astype("uint8")
    if initialized:
        model.initialize(images, np.array([0, 2]))
    targets = typical_targets(8, 8)
    influence = pixel_influence(model, images, np.array([0, 3]), targets)
    expected = receptive_field(8, 8, model.num_blocks, model.num_resolutions)
    assert influence.shape == (4, 8, 8)
    for values, target in zip(influence, targets, strict=True):
        np.testing.assert_array_equal(values > 0, expected[target])


def test_unconditional(rng):
    model = tiny.tiny_model(num_classes=0, conditioning="none")
    images = rng.integers(0, 5, (1, 4, 4, 1)).astype("uint8")
    (influence,) = pixel_influence(model, images, None, [(1, 1)])
    np.testing.assert_array_equal(influence > 0, receptive_field(4, 4, 1, 1)[1, 1])


def test_linear_network_that_sees_the_future(rng):
    """One parameter, 3 times the pixel to the left plus the two channels of the one below."""

    def network(picture, labels, training):
        assert labels is None
        left = ops.roll(picture[..., :1], 1, axis=3)
        below = ops.roll(ops.sum(picture, axis=-1, keepdims=True), -1, axis=2)
        return 3.0 * left + below

    network.num_parameters, network.evaluations_per_pixel = 1, 1
    model = SimpleNamespace(image_shape=(4, 5, 2), num_levels=9, num_classes=0, network=network)
    images = rng.integers(0, 9, (3, 4, 5, 2)).astype("uint8")
    (influence,) = pixel_influence(model, images, None, [(1, 2)])
    expected = np.zeros((4, 5))
    expected[1, 1], expected[2, 2] = 3, 2
    np.testing.assert_allclose(influence / influence.sum(), expected / 5, rtol=1e-6)
    assert count_seen(influence, (1, 2)) == {
        "row": 1,
        "column": 2,
        "earlier": 7,
        "seen": 1,
        "later_seen": 1,
        "blind_spot": 1,
        "blind_spot_seen": 0,
    }


def test_blind_spot_is_what_masked_convolutions_of_any_depth_miss():
    """Against the sets of pixels that ten layers of masked 3×3 kernels reach."""
    kernel = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    target, reached = (5, 3), {(5, 3)}
    for _ in range(10):
        reached |= {(y + dy, x + dx) for y, x in reached for dy, dx in kernel}
    seen = np.array([[(y, x) in reached for x in range(8)] for y in range(8)]).astype(float)
    seen[target] = 0
    counts = count_seen(seen, target)
    assert counts["blind_spot_seen"] == 0
    assert counts["blind_spot"] == counts["earlier"] - counts["seen"] > 0
    assert counts["later_seen"] == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (32, 32), (28, 20)])
def test_targets_lie_in_the_picture(size):
    targets = typical_targets(*size)
    assert len(set(targets)) == len(targets)
    assert all(0 <= i < size[0] and 0 <= j < size[1] for i, j in targets)


class TestInputGradient:
    def test_closed_form(self, rng):
        x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
        weights = keras.Variable(w)
        received = input_gradient(lambda tensor: ops.sum(ops.sin(ops.matmul(tensor, weights))), x)
        np.testing.assert_allclose(received, np.cos(x @ w) @ w.T, rtol=1e-5)
        assert received.dtype == np.float32

    def test_what_has_no_influence_has_gradient_zero(self):
        received = input_gradient(lambda tensor: ops.sum(tensor[:1]) ** 2, [3.0, 5.0])
        np.testing.assert_array_equal(received, [6.0, 0.0])

    def test_input_that_is_not_used(self):
        received = input_gradient(lambda tensor: ops.sum(keras.Variable([2.0]) ** 2), [3.0, 5.0])
        np.testing.assert_array_equal(received, [0.0, 0.0])

    def test_backend_without_gradients(self, monkeypatch):
        monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
        with pytest.raises(RuntimeError, match=r"tensorflow, jax, torch\. Received: numpy"):
            input_gradient(ops.sum, [1.0])
