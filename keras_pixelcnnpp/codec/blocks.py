"""Divides a frame into blocks, each in the lower right corner of a window of a model's size."""

import itertools
import math
from typing import NamedTuple

import numpy as np

from keras_pixelcnnpp.utils.checks import require_integer
from keras_pixelcnnpp.utils.errors import UserError

# Upper bounds of the windows of a frame, and of all their pixels, because files are untrusted.
MAX_WINDOWS = 1 << 21
MAX_PIXELS = 1 << 29


class Block(NamedTuple):
    """A block of a frame, and its window, whose other pixels belong to earlier blocks."""

    rows: slice  # of the window in the frame
    columns: slice
    above: int  # number of rows of the window above the block
    left: int  # number of columns of the window to the left of the block

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the block in the frame."""
        rows, columns = self.rows, self.columns
        return slice(rows.start + self.above, rows.stop), slice(
            columns.start + self.left, columns.stop
        )

    @property
    def known(self) -> np.ndarray:
        """Boolean array `(height, width)`, true for the pixels of the window outside the block."""
        size = (self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)
        known = np.ones(size, bool)
        known[self.above :, self.left :] = False
        return known


def rows_of_blocks(
    size: tuple[int, int], window: tuple[int, int], overlap: int
) -> list[list[Block]]:
    """Returns the blocks of a frame as a list of rows, each a list from left to right.

    A window shares `overlap` rows or columns with the block before it. The last window ends at the
    frame's border, so its overlap may be larger. In the first row and column, a block is as high or
    as wide as its window.

    Raises:
        UserError: If the frame is smaller than a window, or too large, or the overlap too large.

    Example:

    >>> [block.inside[1] for block in rows_of_blocks((2, 4), (2, 2), 1)[0]]
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    (height, width), (rows, columns) = size, window
    require_integer("overlap", overlap, 0, min(window) - 1)
    if height < rows or width < columns:
        raise UserError(
            f"Expected frames of at least {rows}×{columns} pixels, the size of the model. "
            f"Received: {height}×{width}"
        )
    count = math.ceil(height / (rows - overlap)) * math.ceil(width / (columns - overlap))
    if count > MAX_WINDOWS or count * rows * columns > MAX_PIXELS:
        raise UserError(
            f"Expected frames with fewer windows, or a smaller overlap. Received: {height}×{width} "
            f"pixels, about {count} windows of {rows}×{columns} with overlap={overlap}"
        )
    rows, columns = (_along(*axis, overlap) for axis in zip(size, window, strict=True))
    return [[Block(r, c, above, left) for c, left in columns] for r, above in rows]


def _along(length: int, window: int, overlap: int) -> list[tuple[slice, int]]:
    """Returns each window's slice of an axis, and how many of its pixels precede its block."""
    starts = [*range(0, length - window, window - overlap), length - window]
    overlaps = [before + window - start for before, start in itertools.pairwise(starts)]
    slices = [slice(start, start + window) for start in starts]
    return list(zip(slices, [0, *overlaps], strict=True))


def waves(blocks: list[list[Block]]) -> list[list[tuple[int, int, Block]]]:
    """Returns the blocks by diagonals: those of a wave depend only on those of earlier waves.

    A block is a triple of its row, its column and the `Block`.
    """
    found = [[] for _ in range(len(blocks) + len(blocks[0]) - 1)]
    for row, of_row in enumerate(blocks):
        for column, block in enumerate(of_row):
            found[row + column].append((row, column, block))
    return found
