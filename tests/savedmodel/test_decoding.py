import io

import numpy as np
import pytest
from PIL import Image

from keras_pixelcnnpp.datasets.images import read_image, to_levels

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

HEIGHT, WIDTH = 24, 40


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures():
    """Files of every mode that PNG and JPEG have, by name."""
    rng = np.random.default_rng(0)

    def noise(*channels):
        return rng.integers(0, 256, (HEIGHT, WIDTH, *channels), dtype="uint8")

    grey, colour = Image.fromarray(noise()), Image.fromarray(noise(3))
    palette = colour.quantize(64)
    deep = Image.fromarray(rng.integers(0, 2**16, (HEIGHT, WIDTH), dtype="uint16"))
    first_colour = tuple(int(value) for value in np.asarray(colour)[0, 0])
    alphas = rng.integers(0, 256, 64, dtype="uint8").tobytes()
    return {
        "grey": encoded(grey),
        "colour": encoded(colour),
        "grey with alpha": encoded(Image.fromarray(noise(2), "LA")),
        "colour with alpha": encoded(Image.fromarray(noise(4))),
        "black and white": encoded(grey.convert("1")),
        "16 bits": encoded(deep),
        "palette": encoded(palette),
        "palette of 2 bits": encoded(colour.quantize(4), bits=2),
        "palette with a transparent colour": encoded(palette, transparency=3),
        "palette with alphas": encoded(palette, transparency=alphas),
        "grey with a transparent level": encoded(grey, transparency=100),
        "colour with a transparent one": encoded(colour, transparency=first_colour),
        "JPEG grey": encoded(grey, "JPEG"),
        "JPEG colour": encoded(colour, "JPEG", quality=80),
        "JPEG progressive": encoded(colour, "JPEG", progressive=True),
        "JPEG CMYK": encoded(colour.convert("CMYK"), "JPEG"),
    }


PICTURES = pictures()


def decoded(content, shape, num_levels=256):
    from keras_pixelcnnpp.savedmodel.decoding import decode_picture

    return decode_picture(tf.constant(content), shape, num_levels).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PICTURES)
def test_same_size_is_exact(name, channels):
    shape = (HEIGHT, WIDTH, channels)
    expected = read_image(PICTURES[name], shape)
    np.testing.assert_array_equal(decoded(PICTURES[name], shape), expected)
    np.testing.assert_array_equal(decoded(PICTURES[name], shape, 17), to_levels(expected, 17))


@pytest.mark.parametrize("size", [(8, 8), (48, 50), (24, 10)])
@pytest.mark.parametrize("name", ["grey", "colour with alpha", "JPEG colour"])
def test_resizing_is_pillows_to_one_step(name, size):
    shape = (*size, 3)
    difference = decoded(PICTURES[name], shape).astype(int) - read_image(PICTURES[name], shape)
    assert np.abs(difference).max() <= 1


def test_damaged_picture_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(PICTURES["colour"][:200], (8, 8, 3))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(b"no picture", (8, 8, 3))
