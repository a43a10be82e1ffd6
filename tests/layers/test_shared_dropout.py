import numpy as np
import pytest
from layer_checks import check_layer, run
from serialization import check_config

from keras_pixelcnnpp.layers import SharedDropout

ONES = np.ones((3, 4, 20, 20, 5), "float32")


def test_candidates_share_the_mask_and_pictures_do_not():
    output = run(SharedDropout(0.4, seed=0), ONES, training=True)
    np.testing.assert_array_equal(output, np.repeat(output[:, :1], 4, axis=1))
    assert np.any(output[0] != output[1])
    assert np.any(output[:, :, 0] != output[:, :, 1])
    assert np.any(output[..., 0] != output[..., 1])


def test_share_of_zeros_and_expectation():
    output = run(SharedDropout(0.4, seed=0), ONES, training=True)[:, 0]
    # 6,000 independent elements: 5 standard errors
    assert (output == 0).mean() == pytest.approx(0.4, abs=5 * np.sqrt(0.24 / 6000))
    np.testing.assert_allclose(output[output != 0], 1 / 0.6, rtol=1e-6)


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
