"""Decoding pictures inside a TensorFlow graph, as `datasets.read_image` does outside of one."""

import numpy as np
import tensorflow as tf

from keras_pixelcnnpp.datasets.images import to_levels


def decode_picture(content: tf.Tensor, image_shape: tuple[int, int, int], num_levels: int):
    """Turns the content of one PNG or JPEG file into the levels that a model takes.

    It agrees with `read_image` and `to_levels`: exactly for pictures of the right size, within one
    of 255 steps for pictures that must be resized (Pillow rounds once more, between rows and
    columns). One thing is missing here: the orientation that cameras write into EXIF.

    Args:
        content: string `[]`, a file of any size; grey or colour, with or without transparency.
        image_shape: `(height, width, channels)`, 1 or 3 channels; pictures of another size are
            resized with an antialiasing bilinear filter.
        num_levels: The number of levels of a sub-pixel.

    Returns:
        uint8 `image_shape`, levels in `[0, num_levels)`.
    """
    height, width, channels = image_shape
    pixels = _on_white(_decode(content))
    if channels == 1:
        pixels = _grey(pixels)
    resized = tf.image.resize(tf.cast(pixels, tf.float32), (height, width), antialias=True)
    indices = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.int32)
    # A table, so that the rule itself is written in one place only.
    table = to_levels(np.arange(256, dtype=np.uint8), num_levels)
    return tf.ensure_shape(tf.gather(tf.constant(table), indices), image_shape)


def _decode(content: tf.Tensor) -> tf.Tensor:
    """Decodes to int32 `[height, width, 3]` or, with transparency, `[height, width, 4]`."""

    def grey_16_bits():
        # Rounded. Decoding to 8 bits would cut off the low byte, as Pillow does with colours.
        grey = tf.cast(tf.io.decode_png(content, channels=1, dtype=tf.uint16), tf.float32)
        return tf.cast(tf.round(tf.tile(grey / 257, (1, 1, 3))), tf.int32)

    def packed_png():
        # With a number of channels given, TensorFlow leaves less than 8 bits unscaled.
        pixels = tf.io.decode_png(content)
        size = tf.shape(pixels)
        pixels = tf.broadcast_to(pixels, (size[0], size[1], tf.maximum(size[2], 3)))
        return tf.cast(pixels, tf.int32)

    def png():
        # Four channels even for an opaque picture: only then is a colour that is declared
        # transparent made so.
        return tf.cast(tf.io.decode_png(content, channels=4), tf.int32)

    def jpeg():
        # The default is faster, and off by up to four steps.
        pixels = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.cast(pixels, tf.int32)

    def anything_else():
        # TensorFlow's own error for what is no picture.
        pixels = tf.io.decode_image(content, channels=3, expand_animations=False)
        return tf.cast(pixels, tf.int32)

    is_png = tf.strings.substr(content, 0, 4) == b"\x89PNG"
    # The header of a PNG has the bit depth and the kind of colour, 0 for grey.
    is_grey_16 = is_png & (tf.strings.substr(content, 24, 2) == b"\x10\x00")
    is_packed = is_png & tf.reduce_any(
        tf.strings.substr(content, 24, 1) == tf.constant([b"\x01", b"\x02", b"\x04"])
    )
    is_jpeg = tf.strings.substr(content, 0, 3) == b"\xff\xd8\xff"
    pixels = tf.case(
        [
            (is_grey_16, grey_16_bits),
            (is_packed, packed_png),
            (is_png, png),
            (is_jpeg, jpeg),
        ],
        default=anything_else,
    )
    return tf.ensure_shape(pixels, (None, None, None))


def _on_white(pixels: tf.Tensor) -> tf.Tensor:
    """Makes `[height, width, 3 or 4]` three channels: lays transparent pictures on white."""
    colour = pixels[:, :, :3]
    alpha = tf.where(tf.shape(pixels)[2] == 4, pixels[:, :, -1:], 255)
    blended = colour * alpha + 255 * (255 - alpha)
    return (2 * blended + 255) // 510


def _grey(pixels: tf.Tensor) -> tf.Tensor:
    """ITU-R 601 luma, with the integers that Pillow uses."""
    weights = tf.constant([19595, 38470, 7471])
    return (tf.reduce_sum(pixels * weights, axis=-1, keepdims=True) + 0x8000) // 0x10000
