"""Tests of dropout and blocks; the golden test compares the stacks with NumPy."""

import numpy as np
import pytest
from backend_tools import input_gradient
from keras import ops
from layer_checks import run

from keras_pixelcnnpp.conditions import conditions_of
from keras_pixelcnnpp.layers.arithmetic import concat_elu
from keras_pixelcnnpp.layers.evaluation import Evaluation
from keras_pixelcnnpp.layers.gated_residual import ResidualStack, SharedDropout
from keras_pixelcnnpp.layers.network_config import NetworkConfig


def test_work_before_the_label_is_done_once(rng):
    """Down blocks are evaluated for a single candidate, although there are three labels."""
    x, labels = rng.normal(size=(2, 1, 4, 4, 3)).astype("float32"), np.array([[0, 1, 2]] * 2)
    evaluation = Evaluation(condition=[(labels[..., None, None],)])
    candidates = {}
    for blocks in ("all", "up"):
        options = {
            "conditioning": "bias",
            "conditions": conditions_of(3),
            "conditioned_blocks": blocks,
        }
        config = NetworkConfig(filters=(3, 4), num_blocks=(1, 1), **options)
        outputs = ResidualStack(config)(x, evaluation=evaluation)
        candidates[blocks] = [output.shape[1] for output in outputs.values()]
    assert candidates == {"all": [3, 3, 3, 3, 3], "up": [1, 1, 3, 3, 3]}


ONES = np.ones((3, 4, 20, 20, 5), "float32")


def test_candidates_share_the_mask_and_images_do_not():
    output = run(SharedDropout(0.4, seed=0), ONES, training=True)
    np.testing.assert_array_equal(output, np.repeat(output[:, :1], 4, axis=1))
    assert np.any(output[0] != output[1])
    assert np.any(output[:, :, 0] != output[:, :, 1])
    assert np.any(output[..., 0] != output[..., 1])


@pytest.mark.parametrize("rate", [0.25, 0.4, 0.5])
def test_share_of_zeros_and_expectation(rate):
    """There are five channels, which is not a multiple of the bytes in a word."""
    output = run(SharedDropout(rate, seed=0), ONES, training=True)[:, 0]
    zeros = (output == 0).reshape(-1, 5)
    # five standard errors for 1,200 independent elements of each channel
    error = 5 * np.sqrt(rate * (1 - rate) / len(zeros))
    np.testing.assert_allclose(zeros.mean(axis=0), rate, atol=error)
    together = np.corrcoef(zeros.T) - np.eye(5)
    assert np.abs(together).max() < 5 / np.sqrt(len(zeros))
    kept = 1 - round(256 * rate) / 256  # one random byte per element
    np.testing.assert_allclose(output[output != 0], 1 / kept, rtol=1e-6)


def test_each_call_has_a_new_mask_and_a_seed_repeats_them():
    layer = SharedDropout(0.4, seed=3)
    first, second = (run(layer, ONES, training=True) for _ in range(2))
    assert np.any(first != second)
    np.testing.assert_array_equal(run(SharedDropout(0.4, seed=3), ONES, training=True), first)


def test_gradient_of_concat_elu(rng):
    x = np.concatenate([rng.normal(size=10), [0.0, 1e-6, -1e-6, 50.0, -50.0, 200.0, -200.0]])
    weights = rng.normal(size=(2, len(x)))

    def weighted(tensor):
        return ops.sum(concat_elu(tensor) * ops.convert_to_tensor(weights.ravel(), "float32"))

    slopes = np.exp(np.minimum([x, -x], 0.0))
    expected = weights[0] * slopes[0] - weights[1] * slopes[1]
    received = input_gradient(weighted, x.astype("float32"))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)
