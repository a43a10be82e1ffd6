import itertools

import numpy as np
import pytest
from keras import ops
from layer_checks import randomize
from scipy.special import log_softmax

from keras_pixelcnnpp import PixelCNN, PixelCNNPlusPlus, verify
from keras_pixelcnnpp.distributions.head import first_level_above
from keras_pixelcnnpp.distributions.heads import HEADS, CategoricalHead
from keras_pixelcnnpp.distributions.logistic_mixture import LogisticMixtureHead
from keras_pixelcnnpp.distributions.mixture import MixtureHead


class Single(LogisticMixtureHead):
    """A user-defined head with one logistic."""

    def __init__(self, channels, num_levels):
        super().__init__(channels, num_levels, 1)

    def level_log_probs(self, parameters, earlier, temperature=None):
        return super().level_log_probs(parameters, earlier, temperature)


def test_a_head_of_the_users_own(monkeypatch):
    monkeypatch.setitem(HEADS, "single", Single)
    model = PixelCNNPlusPlus((4, 4, 1), 2, 4, filters=4, num_resolutions=1, head="single")
    assert isinstance(model.distribution, Single)
    images, labels = ops.zeros((1, 4, 4, 1), "uint8"), ops.zeros((1, 1), "int32")
    assert model.pixel_parameters(images, labels).shape == (1, 1, 4, 4, 3)
    assert model.sample([0], seed=0, guidance=1.0).shape == (1, 4, 4, 1)
    assert type(model).from_config(model.get_config()).head == "single"


class NormalMixtureHead(MixtureHead):
    """Mixture of discretized normal distributions."""

    def probability(self, lowest, size, means, log_scales):
        """Returns the probability of `size` levels from `lowest` on."""
        last = self.num_levels - 1

        def below(level):
            x = ((level - 0.5) * 2 / last - 1 - means) * ops.exp(-log_scales)
            inner = (1 + ops.erf(x / np.sqrt(2))) / 2
            return ops.where(level < 0.5, 0.0, ops.where(level > last, 1.0, inner))

        return below(lowest + size) - below(lowest)

    def log_probability(self, values, means, log_scales):
        levels = ops.round((values + 1) * (self.num_levels - 1) / 2)
        return ops.log(ops.maximum(self.probability(levels, 1, means, log_scales), 1e-30))

    def interval_probabilities(self, means, log_scales, first, size, count):
        lowest = ops.cast(first, "float32") + size * ops.arange(count, dtype="float32")
        of_each = ops.expand_dims(lowest, -2), size, means[..., None], log_scales[..., None]
        return self.probability(*of_each)

    def quantile(self, uniform):
        return np.sqrt(2) * ops.erfinv(2 * uniform - 1)


def test_a_mixture_of_another_distribution(monkeypatch):
    monkeypatch.setitem(HEADS, "normal", NormalMixtureHead)
    model = PixelCNN((2, 2, 2), 2, 7, filters=4, num_blocks=1, num_mixtures=3, head="normal")
    verify(model)
    head, rng = model.distribution, np.random.default_rng(0)
    parameters = ops.convert_to_tensor(rng.normal(size=(5, head.num_parameters)), "float32")
    earlier = [ops.full((5, 1), 3.0)]
    each, pairs = (
        np.exp(ops.convert_to_numpy(head.level_log_probs(parameters, earlier, **of)))
        for of in ({}, {"first": ops.full((5, 1), 1.0), "size": 2, "count": 3})
    )
    expected = each[:, 1:].reshape(5, 3, 2).sum(axis=2)
    np.testing.assert_allclose(pairs, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)


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
