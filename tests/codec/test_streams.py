"""Entropy coding: round trips, and lengths of streams."""

import numpy as np
import pytest

from keras_pixelcnnpp.codec import streams
from keras_pixelcnnpp.distributions.counts import TOTAL

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
