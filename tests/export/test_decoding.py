import io

import hostile
import numpy as np
import pytest
from hostile import encoded
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keras_pixelcnnpp.data.images import read_image

tf = pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.tensorflow, pytest.mark.once]

HEIGHT, WIDTH = 24, 40


def images():
    """Returns files of all modes of PNG and JPEG by name."""
    rng = np.random.default_rng(0)

    def noise(*channels):
        return rng.integers(0, 256, (HEIGHT, WIDTH, *channels), dtype="uint8")

    gray, color = Image.fromarray(noise()), Image.fromarray(noise(3))
    palette = color.quantize(64)
    alphas = rng.integers(0, 256, 64, dtype="uint8").tobytes()
    return {
        "gray": encoded(gray),
        "color": encoded(color),
        "gray with alpha": encoded(Image.fromarray(noise(2), "LA")),
        "color with alpha": encoded(Image.fromarray(noise(4))),
        "black and white": encoded(gray.convert("1")),
        "palette": encoded(palette),
        "palette of 2 bits": encoded(color.quantize(4), bits=2),
        "palette with a transparent color": encoded(palette, transparency=3),
        "palette with alphas": encoded(palette, transparency=alphas),
        "JPEG gray": encoded(gray, "JPEG"),
        "JPEG color": encoded(color, "JPEG", quality=80),
        "JPEG progressive": encoded(color, "JPEG", progressive=True),
        "JPEG CMYK": encoded(color.convert("CMYK"), "JPEG"),
    }


IMAGES = images()


def decoded(content, shape, resize="center_crop"):
    from keras_pixelcnnpp.export.decoding import decode_image

    return decode_image(tf.constant(content), shape, resize).numpy()


def test_same_size_is_exact():
    """For colors, see the batches below."""
    shape = (HEIGHT, WIDTH, 1)
    for name, content in IMAGES.items():
        expected = read_image(content, shape)
        np.testing.assert_array_equal(decoded(content, shape), expected, err_msg=name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation_is_applied(kind):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for order in ("<", ">"):
            exif.endian = order
            content = encoded(Image.open(io.BytesIO(IMAGES["gray"])), kind, exif=exif)
            for shape in ((HEIGHT, WIDTH, 1), (WIDTH, HEIGHT, 1)):
                expected, message = read_image(content, shape), f"{orientation} {order} {shape}"
                np.testing.assert_array_equal(decoded(content, shape), expected, message)


def test_16_bits_are_rounded_to_8():
    deep = np.random.default_rng(0).integers(0, 2**16, (HEIGHT, WIDTH), dtype="uint16")
    shape = (HEIGHT, WIDTH, 1)
    for options in ({}, {"transparency": int(deep[0, 0])}):
        content = encoded(Image.fromarray(deep), **options)
        np.testing.assert_array_equal(decoded(content, shape), read_image(content, shape))


def test_a_transparent_color_without_alpha_channel_is_white():
    pixels = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH, 3), dtype="uint8")
    shape = (HEIGHT, WIDTH, 3)
    for content in (
        encoded(Image.fromarray(pixels), transparency=(1, 0, 2)),
        encoded(Image.fromarray(pixels[..., 0]), transparency=1),
    ):
        expected = read_image(content, shape)
        assert expected.max() == 255
        np.testing.assert_array_equal(decoded(content, shape), expected)


@pytest.mark.parametrize("resize", ["center_crop", "stretch"])
@pytest.mark.parametrize("size", [(8, 8), (48, 50), (24, 10), (1, 9), (7, 10), (25, 2)])
@pytest.mark.parametrize("name", IMAGES)
def test_resizing_is_pillows(name, size, resize):
    for channels in (1, 3):
        expected = read_image(IMAGES[name], (*size, channels), resize)
        np.testing.assert_array_equal(decoded(IMAGES[name], (*size, channels), resize), expected)


@pytest.mark.parametrize("seed", range(20))
def test_resizing_between_any_sizes_is_pillows(seed):
    """Sizes from 1 to 600, small ones as often as large ones, in noise and in black and white."""
    rng = np.random.default_rng(seed)
    height, width, *size = np.exp(rng.uniform(0, np.log(601), 4)).astype(int).tolist()
    width = max(1, height // 150) if seed % 5 == 0 else width  # which Pillow treats separately
    mode, channels = [("L", 1), ("RGB", 3), ("LA", 2), ("RGBA", 4)][seed % 4]
    pixels = rng.integers(0, 256, (height, width, channels), dtype="uint8")
    pixels = np.where(pixels > 127, 255, 0).astype("uint8") if seed % 3 == 0 else pixels
    image = Image.frombytes(mode, (width, height), pixels.tobytes())
    content = encoded(image.quantize(16) if seed % 8 == 1 else image)
    for resize in ("center_crop", "stretch"):
        for shape in ((*size, 1), (*size, 3)):
            expected = read_image(content, shape, resize)
            np.testing.assert_array_equal(decoded(content, shape, resize), expected)


BAD = {
    "empty": b"",
    "no image": b"no image",
    "only the start of a PNG": b"\x89PNG",
    "only the start of a JPEG": b"\xff\xd8\xff",
    "PNG cut off in the header": IMAGES["color"][:20],
    "PNG cut off": IMAGES["color"][:200],
    "PNG with a flipped bit": IMAGES["color"][:300] + b"\0" + IMAGES["color"][301:],
    "JPEG cut off": IMAGES["JPEG color"][:-100],
    "GIF": hostile.encoded(Image.new("RGB", (4, 4)), "GIF"),
    "BMP": hostile.encoded(Image.new("RGB", (4, 4)), "BMP"),
    "PNG without pixels": hostile.png(0, 8),
    "PNG of 3.6 gigapixels": hostile.png(60_000, 60_000),
    "PNG of negative sides": hostile.png(2**31 + 1, 2**31 + 1),
    "PNG of 51 megapixels": hostile.png(51_000, 1000, data=bytes(51_001 * 1000)),
    "JPEG of 4.3 gigapixels": hostile.jpeg_of_size(65_500, 65_500),
}


@pytest.fixture(scope="module")
def decode():
    """Calls `decode_images` in a graph, as in the export."""
    from keras_pixelcnnpp.export.decoding import decode_images

    shape = (HEIGHT, WIDTH, 3)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None,), tf.string)])
    def function(contents):
        return decode_images(contents, shape)

    return lambda contents: [
        output.numpy() for output in function(tf.constant(contents, tf.string, (len(contents),)))
    ]


def test_bad_images_do_not_spoil_a_batch(decode):
    names = np.random.default_rng(0).permutation([*IMAGES, *BAD])
    images, good = decode([(IMAGES | BAD)[name] for name in names])
    assert good.tolist() == [name in IMAGES for name in names]
    for name, image, is_good in zip(names, images, good, strict=True):
        if is_good:
            np.testing.assert_array_equal(image, read_image(IMAGES[name], (HEIGHT, WIDTH, 3)))
        else:
            assert not image.any()


@hostile.examples(300)
@given(st.lists(hostile.damaged(list(IMAGES.values())), min_size=1, max_size=6), st.integers(0))
def test_any_bytes_leave_the_good_images_alone(decode, contents, place):
    place %= len(contents) + 1
    mixed = [*contents[:place], IMAGES["color"], *contents[place:]]
    images, good = decode(mixed)
    assert good[place]
    np.testing.assert_array_equal(images[place], read_image(IMAGES["color"], (HEIGHT, WIDTH, 3)))
