import numpy as np
import pytest
from layer_checks import check_layer, run
from serialization import check_config

from keras_pixelcnnpp.layers.gated_residual import SharedDropout

ONES = np.ones((3, 4, 20, 20, 5), "float32")


def test_candidates_share_the_mask_and_pictures_do_not():
    output = run(SharedDropout(0.4, seed=0), ONES, training=True)
    np.testing.assert_array_equal(output, np.repeat(output[:, :1], 4, axis=1))
    assert np.any(output[0] != output[1])
    assert np.any(output[:, :, 0] != output[:, :, 1])
    assert np.any(output[..., 0] != output[..., 1])


@pytest.mark.parametrize("rate", [0.25, 0.4, 0.5])
def test_share_of_zeros_and_expectation(rate):
    output = run(SharedDropout(rate, seed=0), ONES, training=True)[:, 0]
    # 6,000 independent elements: 5 standard errors
    error = 5 * np.sqrt(rate * (1 - rate) / output.size)
    assert (output == 0).mean() == pytest.approx(rate, abs=error)
    kept = 1 - round(256 * rate) / 256  # a random byte decides
    np.testing.assert_allclose(output[output != 0], 1 / kept, rtol=1e-6)


def test_every_channel_is_drawn():
    """Also where their number isn't a multiple of the bytes in a word."""
    output = run(SharedDropout(0.5, seed=0), np.ones((50, 1, 4, 4, 7), "float32"), training=True)
    shares = (output == 0).mean(axis=(0, 1, 2, 3))
    np.testing.assert_allclose(shares, np.full(7, 0.5), atol=5 * np.sqrt(0.25 / 800))
    flat = output.reshape(-1, 7)
    together = np.corrcoef(flat.T) - np.eye(7)
    assert np.abs(together).max() < 5 / np.sqrt(800)


def test_does_nothing_outside_training_and_at_rate_0():
    np.testing.assert_array_equal(run(SharedDropout(0.4), ONES), ONES)
    np.testing.assert_array_equal(run(SharedDropout(0.0), ONES, training=True), ONES)


def test_each_call_has_a_new_mask_and_a_seed_repeats_them():
    layer = SharedDropout(0.4, seed=3)
    first, second = (run(layer, ONES, training=True) for _ in range(2))
    assert np.any(first != second)
    np.testing.assert_array_equal(run(SharedDropout(0.4, seed=3), ONES, training=True), first)


def test_as_a_layer():
    check_layer(SharedDropout, {"rate": 0.5}, [ONES], ONES.shape)
    check_config(SharedDropout, rate=0.5, seed=3)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "half", None])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match=r"`rate`\. Expected a number in \[0, 1\)"):
        SharedDropout(rate)
