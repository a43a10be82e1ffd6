"""Asymmetric numeral systems: symbols of known probabilities as bytes, for many images at once.

A stream is one whole number, of which the symbol read last was written first. Each symbol has a
share of 2²⁴, the whole numbers from `start` to `start + share - 1`.

Reference:
    Duda 2013, Asymmetric numeral systems, https://arxiv.org/abs/1311.2540
"""

from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.codec.counts import TOTAL, TOTAL_BITS

# Between symbols, the part of the number in memory has at least so many bits, and 8 more at most.
LOW_BITS = 32


def encode(starts: np.ndarray, shares: np.ndarray) -> list[bytes]:
    """The streams of some images.

    Args:
        starts: Integers `(images, symbols)`.
        shares: Integers `(images, symbols)`, from 1 to 2²⁴.

    Returns:
        A stream for each image, about 3 bytes longer than the sum of `log2(2²⁴ / share)`.
    """
    count, symbols = starts.shape
    number, place = np.zeros(count, "int64"), np.zeros(count, "int64")
    written = np.zeros((count, 3 * symbols + 1), "uint8")
    rows = np.arange(count)
    for symbol in reversed(range(symbols)):
        start, share = starts[:, symbol].astype("int64"), shares[:, symbol].astype("int64")
        while (full := number >= share << (LOW_BITS + 8 - TOTAL_BITS)).any():
            # An image without a byte to write is overwritten by its next one.
            written[rows, place] = number & 255
            place += full
            number = np.where(full, number >> 8, number)
        number = (number // share << TOTAL_BITS) + number % share + start
    ends = [value.to_bytes(-(-value.bit_length() // 8)) for value in number.tolist()]
    return [
        end + inner[:length][::-1].tobytes()
        for end, inner, length in zip(ends, written, place.tolist(), strict=True)
    ]


class Decoder:
    """Reads some streams, symbol by symbol; `slots` say which symbols come next."""

    def __init__(self, streams: Sequence[bytes]):
        lengths = np.array([len(stream) for stream in streams], "int64")
        self._bytes = np.frombuffer(b"".join(streams) + b"\0", "uint8").astype("int64")
        self._ends = np.cumsum(lengths)
        self._place = self._ends - lengths
        self._number = np.zeros(len(streams), "int64")
        self._fill()

    def _fill(self) -> None:
        while True:
            short = (self._number < 1 << LOW_BITS) & (self._place < self._ends)
            if not short.any():
                return
            filled = self._number << 8 | self._bytes[self._place]
            self._number = np.where(short, filled, self._number)
            self._place += short

    @property
    def slots(self) -> np.ndarray:
        """For each stream a number that the next symbol's share has: int64 `(images,)`."""
        return self._number & (TOTAL - 1)

    def read(self, starts: np.ndarray, shares: np.ndarray) -> None:
        """Goes on after the symbols of these shares."""
        self._number = (self._number >> TOTAL_BITS) * shares + self.slots - starts
        self._fill()

    @property
    def is_finished(self) -> bool:
        """Whether all streams end here; a damaged one hardly ever does."""
        return not self._number.any() and bool((self._place == self._ends).all())
