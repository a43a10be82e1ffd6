import io

import numpy as np
import pytest
from PIL import Image

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.figures import gallery_png


def test_gallery_shows_each_pixel_in_its_place():
    pixels = np.zeros((2, 3, 64, 64, 3), "uint8")
    pixels[1, 2] = (200, 100, 50)
    png = gallery_png(pixels, ("first $x", "second"), ("one", "two", ""))
    with Image.open(io.BytesIO(png)) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    coloured = (shown == (200, 100, 50)).all(axis=-1)
    assert coloured.sum() == 64 * 64
    rows, columns = np.nonzero(coloured)
    assert (np.ptp(rows), np.ptp(columns)) == (63, 63)
    # Words stand left of the pictures and above them.
    assert columns.min() > 2 * 65
    assert rows.min() > 65 + 10


def test_gallery_of_two_channels_is_no_picture():
    with pytest.raises(UserError, match="1 or 3 channels"):
        gallery_png(np.zeros((1, 1, 4, 4, 2), "uint8"), ("a",), ("b",))
