import io

import numpy as np
import pytest
from hostile import encoded
from images import write_image
from PIL import Image

from keras_pixelcnnpp.data.images import (
    UNKNOWN_GRAY,
    image_grid,
    png_bits,
    png_bytes,
    read_image,
    resize_images,
    resized_note,
    stretch_note,
    stretched,
    unknown_value,
)
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once

GRAY = [0.299 * 200 + 0.587 * 100 + 0.114 * 50]


@pytest.mark.parametrize(
    ("mode", "expected", "tolerance"),
    [
        ("RGB", (200, 100, 50), 0),
        ("RGBA", (200, 100, 50), 0),
        # JPEG loses a little; inverted or swapped channels would differ a lot.
        ("CMYK", (200, 100, 50), 12),
        ("LA", 3 * GRAY, 1),
        ("RGB", GRAY, 1),
    ],
)
def test_every_color_mode_gives_the_same_image(tmp_path, mode, expected, tolerance):
    suffix = "jpg" if mode == "CMYK" else "png"
    path = write_image(tmp_path / f"image.{suffix}", mode=mode, size=(16, 16))
    image = read_image(path, (16, 16, len(expected))).astype(int)
    np.testing.assert_allclose(image[12, 12], expected, atol=tolerance)
    np.testing.assert_allclose(image[0, 0], 0, atol=tolerance)


def test_size_of_deep_colors_is_that_of_their_channels(rng):
    images = rng.integers(0, 4096, (2, 5, 6, 3)).astype("uint16")
    expected = sum(png_bits(images[..., channel, None]) for channel in range(3))
    np.testing.assert_array_equal(png_bits(images), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_gray_is_scaled_not_clipped(kind):
    values = np.array([[0, 257, 128 * 257, 65535]], dtype="uint16")
    image = read_image(encoded(Image.fromarray(values), kind), (1, 4, 1))
    assert image.ravel().tolist() == [0, 1, 128, 255]
    values = np.array([[0, 16, 2048, 4095, 4096]], dtype="uint16")
    image = read_image(encoded(Image.fromarray(values), kind), (1, 5, 1), white_level=4095)
    assert image.ravel().tolist() == [0, 1, 128, 255, 255]


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float32", 0.5, "a gray image of 16 bits. Received: mode F"),
        ("int32", 65536, "values from 0 to 65535. Received: 65536 to 65536"),
        ("int32", -1, "values from 0 to 65535. Received: -1 to -1"),
    ],
)
def test_gray_that_does_not_have_sixteen_bits_is_refused(dtype, value, expected):
    """The way out is an array, for which loading gives the code to convert it."""
    image = encoded(Image.fromarray(np.full((2, 2), value, dtype)), "TIFF")
    advice = r"Save other images as the array images of an \.npz file$"
    with pytest.raises(UserError, match=rf"expected {expected}\. {advice}"):
        read_image(image, (2, 2, 1))


def test_what_is_transparent_is_white():
    rgba = np.array([[[9, 9, 9, 0], [10, 20, 30, 255], [0, 0, 0, 128]]], dtype="uint8")
    pixels = read_image(encoded(Image.fromarray(rgba)), (1, 3, 3))
    np.testing.assert_allclose(pixels[0], [[255] * 3, [10, 20, 30], [127] * 3], atol=1)
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    pixels = read_image(encoded(palette, transparency=0), (1, 2, 3))
    assert pixels.tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (2, 1), "white")
    image.putpixel((0, 0), (0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise: the left side becomes the top
    pixels = read_image(encoded(image, exif=exif), (2, 1, 1))
    assert pixels.ravel().tolist() == [0, 255]


def test_shrinking_averages_instead_of_picking():
    stripes = np.zeros((64, 64, 3), dtype="uint8")
    stripes[:, ::2] = 255
    small = read_image(encoded(Image.fromarray(stripes)), (8, 8, 3))
    # Nearest-neighbor resampling would give 0 or 255.
    np.testing.assert_allclose(small, 127.5, atol=12)


RED, BLUE = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
SEVERAL = {"save_all": True, "append_images": [BLUE]}


@pytest.mark.parametrize(("kind", "frames"), [("WEBP", SEVERAL), ("BMP", {}), ("GIF", SEVERAL)])
def test_other_formats(kind, frames):
    pixels = read_image(encoded(RED, kind, **frames), (8, 8, 3))
    np.testing.assert_allclose(pixels[4, 4].astype(int), (255, 0, 0), atol=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(RED)[:50], "cannot be read"),
        (encoded(RED.resize((16, 16)), "ICO"), "not an image"),
        (encoded(RED, "TIFF", **SEVERAL), r"a TIFF of several pages\. Save each .* \.npz file$"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, message):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"image\.png: .*{message}"):
        read_image(path, (8, 8, 3))


@pytest.mark.parametrize("resize", ["center_crop", "stretch"])
def test_resizing_arrays_is_resizing_files(rng, resize):
    images = rng.integers(0, 256, (3, 20, 24, 3), dtype="uint8")
    resized = resize_images(images, (10, 10), 1, resize)
    for image, small in zip(images, resized, strict=True):
        content = encoded(Image.fromarray(image))
        np.testing.assert_array_equal(small, read_image(content, (10, 10, 1), resize))
    middle = images[:, :, 2:22] if resize == "center_crop" else images
    np.testing.assert_array_equal(resized, resize_images(middle, (10, 10), 1, "stretch"))


def test_grid_has_every_image_in_its_place():
    pixels = np.arange(5, dtype="uint8").reshape(5, 1, 1, 1).repeat(70, 1).repeat(70, 2)
    grid = image_grid(pixels, columns=2)
    assert grid.shape == (3 * 71 + 1, 2 * 71 + 1, 1)
    assert [grid[36, 36, 0], grid[36, 107, 0], grid[178, 36, 0]] == [0, 1, 4]
    assert grid[178, 107, 0] == 255
    small = image_grid(pixels[1:2, :16, :8])  # each pixel becomes 4×4, since 4 × 16 = 64
    assert small.shape == (4 * 18, 4 * 10, 1)
    assert [small[3, 20, 0], small[4, 4, 0], small[67, 35, 0], small[68, 20, 0]] == [255, 1, 1, 255]


def test_images_of_16_bits_are_stretched_to_be_seen():
    """Black is the lowest value of all images, and unknown pixels are as gray as in 8 bits."""
    pixels = np.uint16([[100, 101], [2000, 4000]])[..., None, None]  # two images of 2×1
    shown = np.floor((pixels - 100) / 3900 * 255)
    np.testing.assert_array_equal(stretched(pixels), shown)
    np.testing.assert_array_equal(image_grid(pixels), image_grid(shown.astype("uint8")))
    assert "black is 100, and white is 4,000" in stretch_note(pixels)
    known = np.append(pixels, np.uint16(unknown_value(pixels)))
    assert abs(int(stretched(known)[-1]) - UNKNOWN_GRAY) <= 1
    assert stretched(np.full(3, 7, "uint16")).tolist() == [0, 0, 0]
    eight = np.uint8([0, 9])
    assert stretched(eight) is eight
    assert (stretch_note(eight), unknown_value(eight)) == ("", UNKNOWN_GRAY)


def test_a_png_file_keeps_16_bits():
    pixels = np.uint16([[0, 257], [4095, 65535]])[..., None]
    with Image.open(io.BytesIO(png_bytes(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels[..., 0])


def test_resized_images_are_told():
    found = [resized_note(size, (8, 8)) for size in ([8, 8], (4, 6))]
    assert found == [(), ("Images resized from 6×4 to 8×8.",)]


def test_bad_arguments():
    with pytest.raises(UserError, match=r"dtype=int64\. Convert all data with np\.interp"):
        image_grid(np.full((2, 4, 4, 1), 4000))
    with pytest.raises(UserError, match=r"1 channel, because image files of 16 bits are gray"):
        png_bytes(np.zeros((4, 4, 3), "uint16"))
    with pytest.raises(UserError, match="Expected images of 1 or 3 channels"):
        read_image(encoded(RED), (4, 4, 4))
