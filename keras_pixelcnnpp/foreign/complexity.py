"""How complex a picture is: how many bits a file format needs for it."""

import numpy as np

from keras_pixelcnnpp.datasets.images import to_pixels
from keras_pixelcnnpp.figures import png_bytes


def png_bits(images: np.ndarray, num_levels: int) -> np.ndarray:
    """The size of each picture as a PNG file.

    Args:
        images: uint8 `[count, height, width, channels]`, levels, with 1 or 3 channels.
        num_levels: The number of levels.

    Returns:
        float64 `[count]`, bits. The header, the same for all, is counted too.

    Raises:
        UserError: if the pictures have another number of channels.
    """
    pixels = to_pixels(images, num_levels)
    return np.array([8.0 * len(png_bytes(picture)) for picture in pixels])
