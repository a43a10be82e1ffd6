"""Entropy coding: round trips, lengths of streams, and integer shares of the heads."""

import numpy as np
import pytest
from keras import ops

from keras_pixelcnnpp.codec import streams
from keras_pixelcnnpp.distributions.counts import TOTAL
from keras_pixelcnnpp.distributions.heads import CategoricalHead, LogisticMixtureHead
from keras_pixelcnnpp.distributions.tables import UNIT

pytestmark = pytest.mark.once


@pytest.mark.parametrize("symbols", [1, 3, 500])
def test_streams(symbols):
    """Shares of all sizes, streams of different lengths, and damaged streams."""
    rng = np.random.default_rng(symbols)
    shares = np.minimum(2 ** rng.uniform(0, 24, (7, symbols)), TOTAL).astype("int64")
    shares[0], shares[1, ::2], shares[2] = TOTAL, 1, 1
    starts = rng.integers(0, TOTAL - shares + 1)
    coded = streams.encode(starts, shares)
    bits = (24 - np.log2(shares)).sum(axis=1)
    lengths = np.array([len(stream) for stream in coded])
    assert (np.abs(8 * lengths - bits - 16) < 26).all()
    assert len(coded[0]) <= 3

    def read(coded):
        decoder = streams.Decoder(coded)
        for symbol in range(symbols):
            inside = decoder.slots - starts[:, symbol]
            if not ((inside >= 0) & (inside < shares[:, symbol])).all():
                return False
            decoder.read(starts[:, symbol], shares[:, symbol])
        return decoder.is_finished

    assert read(coded)
    for image in range(1, 7):
        for stream in (coded[image] + b"\1", coded[image][:-1], b"\1" + coded[image]):
            assert not read([*coded[:image], stream, *coded[image + 1 :]])


def test_the_most_probable_symbols_take_a_byte_for_256():
    """Otherwise, a file of a few bytes could claim any number of them."""
    (stream,) = streams.encode(np.zeros((1, 1000), int), np.full((1, 1000), TOTAL - 4))
    assert stream == bytes(4)
    decoder = streams.Decoder([stream])
    for _ in range(1000):
        assert decoder.slots.tolist() == [0]
        decoder.read(0, TOTAL - 4)
    assert decoder.is_finished


def shares_of(head, parameters, earlier):
    """Returns the shares of the next sub-pixel, `(N, num_levels)`."""
    tables = [ops.convert_to_numpy(table) for table in head.weights]
    cumulative = head.counts(tables).sub_pixel(np.int64(parameters * UNIT), list(earlier.T))
    levels = np.arange(head.num_levels + 1)
    below = [cumulative(np.full(len(parameters), level)) for level in levels]
    return np.diff(np.stack(below, axis=-1), axis=-1)


@pytest.mark.parametrize("kind", [LogisticMixtureHead, CategoricalHead])
@pytest.mark.parametrize("num_levels", [2, 17, 256])
@pytest.mark.parametrize("scale", [0.3, 3.0, 1000.0])
def test_shares(kind, num_levels, scale):
    """Shares have a fixed sum, are positive, and are close to the probabilities of the head."""
    rng = np.random.default_rng(num_levels)
    head = kind(3, num_levels, 4)
    for table in head.weights:
        table.assign(np.rint(UNIT * rng.normal(size=table.shape)) / UNIT)
    parameters = np.rint(UNIT * scale * rng.normal(size=(30, head.num_parameters))) / UNIT
    parts = np.float32(parameters), np.float32(rng.uniform(size=(30, head.noise_size)))
    levels = ops.convert_to_numpy(head.sample(*map(ops.convert_to_tensor, parts))).astype("int64")
    for channel in range(3):
        shares = shares_of(head, parameters, levels[:, :channel])
        assert shares.min() >= 1
        assert (shares.sum(axis=-1) == TOTAL).all()
        earlier = [
            ops.convert_to_tensor(part) for part in np.float32(levels[:, :channel].T[..., None])
        ]
        log_probs = head.level_log_probs(ops.convert_to_tensor(np.float32(parameters)), earlier)
        probabilities = np.exp(ops.convert_to_numpy(log_probs))
        np.testing.assert_allclose(shares / TOTAL, probabilities, rtol=0.01, atol=2e-4)
