"""Integer shares of the levels: positive, exact sums, and those of the head's probabilities."""

import numpy as np
import pytest
from keras import ops
from reference_mixture import ReferencePixel
from scipy.special import softmax

from keras_pixelcnnpp.distributions.counts import TOTAL
from keras_pixelcnnpp.distributions.heads import HEADS, CategoricalHead
from keras_pixelcnnpp.distributions.mixture import MixtureHead
from keras_pixelcnnpp.distributions.tables import UNIT
from keras_pixelcnnpp.layers.fixed_point import LIMIT

pytestmark = pytest.mark.once

LEVELS = [2, 3, 256, 257, 512, 513, 1024, 4096]
# Standard deviations of parameters: near uniform, usual, peaked, at the clips, and beyond.
SCALES = [0, 1 / UNIT, 0.01, 1, 20, LIMIT, 16 * LIMIT]


def new_head(name, channels, num_levels):
    given = {"num_mixtures": 4} if issubclass(HEADS[name], MixtureHead) else {}
    return HEADS[name](channels, num_levels, **given)


def cumulative_shares(head, parameters, earlier):
    """Returns the shares below each level of the next sub-pixel, `(N, num_levels + 1)`."""
    tables = [ops.convert_to_numpy(table) for table in head.weights]
    cumulative = head.counts(tables).sub_pixel(parameters, list(earlier.T))
    levels = np.arange(head.num_levels + 1)
    return np.stack([cumulative(np.full(len(parameters), level)) for level in levels], axis=-1)


def whole_parameters(size, rng):
    """Returns parameters in grid steps: random ones, their signs, and one that stands out."""
    found = []
    for scale in SCALES:
        values = rng.normal(size=(3, size))
        peaked = 0.01 * rng.normal(size=(3, size))
        peaked[range(3), rng.integers(0, size, 3)] = scale
        found += [scale * values, scale * np.sign(values), peaked]
    return np.rint(UNIT * np.concatenate(found)).astype("int64")


@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.parametrize("num_levels", LEVELS)
def test_shares_are_positive_and_add_up(name, num_levels):
    """Files could not be read otherwise, whatever the parameters are."""
    head = new_head(name, 2, num_levels)
    rng = np.random.default_rng(num_levels)
    parameters = whole_parameters(head.num_parameters, rng)
    first = rng.integers(0, num_levels, len(parameters))
    first[::4], first[1::4] = 0, num_levels - 1
    for channel in range(2):
        below = cumulative_shares(head, parameters, first[:, None][:, :channel])
        assert (below[:, 0] == 0).all()
        assert (below[:, -1] == TOTAL).all()
        assert np.diff(below, axis=-1).min() >= 1


@pytest.mark.parametrize("num_levels", LEVELS)
def test_shares_of_a_softmax_are_those_of_float64(num_levels):
    head = CategoricalHead(channels=1, num_levels=num_levels)
    parameters = whole_parameters(num_levels, np.random.default_rng(num_levels))
    below = cumulative_shares(head, parameters, np.zeros((len(parameters), 0), int))
    expected = 1 + softmax(parameters / UNIT, axis=-1) * (TOTAL - num_levels)
    np.testing.assert_allclose(np.diff(below, axis=-1), expected, rtol=1e-6, atol=1)


@pytest.mark.parametrize("num_levels", [2, 17, 256])
@pytest.mark.parametrize("scale", [0.3, 3.0, 1000.0])
def test_shares_of_a_softmax_with_tables_are_close_to_its_probabilities(num_levels, scale):
    rng = np.random.default_rng(num_levels)
    head = CategoricalHead(3, num_levels)
    for table in head.weights:
        table.assign(np.rint(UNIT * rng.normal(size=table.shape)) / UNIT)
    parameters = np.rint(UNIT * scale * rng.normal(size=(30, head.num_parameters))) / UNIT
    levels = rng.integers(0, num_levels, (30, 3))
    for channel in range(3):
        below = cumulative_shares(head, np.int64(parameters * UNIT), levels[:, :channel])
        earlier = list(np.float32(levels[:, :channel].T[..., None]))
        log_probs = head.level_log_probs(ops.convert_to_tensor(np.float32(parameters)), earlier)
        expected = np.exp(ops.convert_to_numpy(log_probs))
        np.testing.assert_allclose(np.diff(below, axis=-1) / TOTAL, expected, rtol=0.01, atol=2e-4)


@pytest.mark.parametrize("num_mixtures", [1, 5, 10])
@pytest.mark.parametrize(("num_levels", "tolerance"), [(2, 1e-5), (256, 2e-5), (4096, 3e-4)])
@pytest.mark.parametrize("scale", [0.3, 3.0, 8.0])
def test_shares_of_a_mixture_are_those_of_float64(num_mixtures, num_levels, tolerance, scale):
    """The integers round the hyperbolic tangent of a coefficient, and so does the reference."""
    rng = np.random.default_rng(num_levels)
    head = HEADS["logistic_mixture"](3, num_levels, num_mixtures)
    parameters = np.rint(UNIT * scale * rng.normal(size=(4, head.num_parameters))) / UNIT
    parts = np.float32(parameters), np.float32(rng.uniform(size=(4, head.noise_size)))
    levels = ops.convert_to_numpy(head.sample(*map(ops.convert_to_tensor, parts))).astype("int64")
    chosen = np.unique(rng.integers(0, num_levels, 30))
    for channel in range(3):
        below = cumulative_shares(head, np.int64(parameters * UNIT), levels[:, :channel])
        shares = np.diff(below, axis=-1)[:, chosen] / TOTAL
        for row, known in enumerate(levels[:, :channel].tolist()):
            pixel = ReferencePixel(parameters[row], 3, num_levels)
            pairs = pixel.coefficients.items()
            pixel.coefficients = {pair: np.rint(UNIT * value) / UNIT for pair, value in pairs}
            before = pixel.log_prefix(known)
            expected = [np.exp(pixel.log_prefix([*known, level]) - before) for level in chosen]
            np.testing.assert_allclose(shares[row], expected, rtol=0, atol=tolerance)
