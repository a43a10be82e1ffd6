"""Pictures in rows and columns with words beside them."""

from dataclasses import dataclass

import numpy as np

from keras_pixelcnnpp.generation.gallery_figure import gallery_png


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures in a table.

    Args:
        pixels: uint8 `[rows, columns, height, width, channels]`, 0 to 255.
        row_labels: One text for each row.
        column_labels: One text for each column; the columns of empty ones belong to the text
            before.
    """

    pixels: np.ndarray
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]

    def png(self) -> bytes:
        """The content of a PNG file."""
        return gallery_png(self.pixels, self.row_labels, self.column_labels)
