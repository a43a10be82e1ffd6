import itertools

import numpy as np
import pytest
from keras import ops
from layer_checks import randomize
from scipy.special import log_softmax

from keras_pixelcnnpp.distributions.heads import (
    CategoricalHead,
    LogisticMixtureHead,
    first_level_above,
)


def test_inversion_takes_no_impossible_level():
    """The sum of float32 probabilities may be less than the largest noise, 1 - 2**-24."""
    rng = np.random.default_rng(0)
    logits = np.full((4000, 300), -np.inf, "float32")
    logits[:, :256] = rng.normal(size=(4000, 256))
    largest = np.full((4000, 1), 1 - 2.0**-24, "float32")
    logits = ops.convert_to_tensor(logits)
    levels = ops.convert_to_numpy(first_level_above(logits, ops.convert_to_tensor(largest)))
    assert levels.max() <= 255
    assert levels.min() > 200
    smallest = ops.full((4000, 1), 2.0**-32)
    smallest = ops.convert_to_numpy(first_level_above(logits, smallest))
    assert smallest.max() == 0


def test_earlier_channels_add_rows_of_tables():
    head = CategoricalHead(channels=3, num_levels=5)
    randomize(head)
    tables = {name: np.asarray(table.embeddings) for name, table in head.tables.items()}
    logits = np.random.default_rng(1).normal(size=(1, 15)).astype("float32")
    red, green, blue = logits.reshape(3, 5)
    expected = [
        log_softmax(red),
        log_softmax(green + tables["1_given_0"][4]),
        log_softmax(blue + tables["2_given_0"][4] + tables["2_given_1"][0]),
    ]
    levels = np.array([[4, 0, 2]])
    received = ops.convert_to_numpy(head.log_prob(logits, levels))
    np.testing.assert_allclose(
        received, [expected[0][4] + expected[1][0] + expected[2][2]], atol=1e-5
    )
    earlier = [ops.convert_to_tensor(levels[:, channel : channel + 1]) for channel in range(2)]
    np.testing.assert_allclose(
        ops.convert_to_numpy(head.level_log_probs(logits, earlier))[0], expected[2], atol=1e-5
    )


@pytest.mark.parametrize(("num_mixtures", "dtype"), [(1, "float32"), (4, "float64")])
def test_level_log_probs_of_a_mixture_are_ratios_of_log_probs(num_mixtures, dtype):
    """Compares p(blue | red, green) with the joint probabilities of whole pixels."""
    head = LogisticMixtureHead(3, 6, num_mixtures)
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(1, head.num_parameters)).astype(dtype)
    pixels = np.array(list(itertools.product(range(6), repeat=3)))
    joint = np.exp(np.float64(ops.convert_to_numpy(head.log_prob(parameters, pixels))))
    joint = joint.reshape(6, 6, 6)
    assert joint.sum() == pytest.approx(1, abs=1e-5)
    marginals = [joint.sum(axis=(1, 2)), joint.sum(axis=2)[2], joint[2, 5]]
    for channel, marginal in enumerate(marginals):
        earlier = [ops.full((1, 1), level) for level in (2, 5)[:channel]]
        received = np.exp(ops.convert_to_numpy(head.level_log_probs(parameters, earlier))[0])
        np.testing.assert_allclose(received, marginal / marginal.sum(), rtol=1e-4)
