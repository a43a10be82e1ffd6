"""Entropy coder (asymmetric numeral systems), which codes the symbols of many images at once.

A stream represents one large integer. Symbols are encoded in reverse order, and decoded in order.
Each symbol has a share of the slots 0 to 2²⁴ - 1, those from `start` to `start + share - 1`.

Reference:
    Duda 2013, Asymmetric numeral systems, https://arxiv.org/abs/1311.2540
"""

import math
from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.distributions.counts import TOTAL, TOTAL_BITS

# Between symbols, the part of the integer in memory has from 32 to 40 bits.
LOW_BITS = 32
# Lower bound of a stream's length: a byte for this number of symbols. The length of a file is thus
# a bound of its content, which has not been decoded yet.
SYMBOLS_PER_BYTE = 256


def encode(starts: np.ndarray, shares: np.ndarray) -> list[bytes]:
    """Encodes the symbols of images to streams.

    Args:
        starts: Integer array `(images, symbols)`, first slot of each symbol's share.
        shares: Integer array `(images, symbols)`, size of each symbol's share, from 1 to 2²⁴.

    Returns:
        A stream for each image, about 4 bytes longer than the sum of `log2(2²⁴ / share)` bits, and
        at least `symbols / SYMBOLS_PER_BYTE`.
    """
    count, symbols = starts.shape
    number, place = np.zeros(count, "int64"), np.zeros(count, "int64")
    written = np.zeros((count, 3 * symbols + 1), "uint8")
    rows = np.arange(count)
    for symbol in reversed(range(symbols)):
        start, share = starts[:, symbol].astype("int64"), shares[:, symbol].astype("int64")
        while (full := number >= share << (LOW_BITS + 8 - TOTAL_BITS)).any():
            # For images that have no byte to write, the next byte overwrites this one.
            written[rows, place] = number & 255
            place += full
            number = np.where(full, number >> 8, number)
        number = (number // share << TOTAL_BITS) + number % share + start
    ends = [value.to_bytes(-(-value.bit_length() // 8)) for value in number.tolist()]
    # Zeros at the beginning do not change the integer.
    shortest = math.ceil(symbols / SYMBOLS_PER_BYTE)
    return [
        (end + inner[:length][::-1].tobytes()).rjust(shortest, b"\0")
        for end, inner, length in zip(ends, written, place.tolist(), strict=True)
    ]


class Decoder:
    """Decodes streams symbol by symbol: find the symbols of `slots`, then call `read`."""

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
        """Slot in the share of each stream's next symbol, int64 `(images,)`."""
        return self._number & (TOTAL - 1)

    def read(self, starts: np.ndarray, shares: np.ndarray) -> None:
        """Removes the symbols with these shares, and moves to the next ones."""
        self._number = (self._number >> TOTAL_BITS) * shares + self.slots - starts
        self._fill()

    @property
    def is_finished(self) -> bool:
        """Whether all streams end here. A damaged stream almost never does."""
        return not self._number.any() and bool((self._place == self._ends).all())
