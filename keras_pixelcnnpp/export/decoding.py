"""Decoding images inside a TensorFlow graph, as `data.images.read_image` does outside of one."""

import tensorflow as tf

from keras_pixelcnnpp.data.images import MAX_SCANNED_PIXELS

# A file of a few kilobytes can hold a plain image of any size. A transparent PNG takes up to 20
# bytes a pixel on its way, any other image less.
MAX_PIXELS = 50_000_000

# Of a PNG, up to the color type.
_HEADER_BYTES = 26


def decode_images(
    contents: tf.Tensor,
    image_shape: tuple[int, int, int],
    resize: str = "center_crop",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a batch of files, of which some may be bad, one at a time.

    A graph has no exceptions; a `tf.data` pipeline can drop the elements that failed, whatever the
    reason, and tell by their numbers which are left.

    Args:
        contents: string `(B,)`.
        image_shape: `(height, width, channels)`.
        resize: As in `fit_image`.

    Returns:
        uint8 `(B, height, width, channels)`, 0 for a bad image; and bool `(B,)`, whether
        each is good. Bad is what `decode_image` refuses.
    """
    count = tf.shape(contents, out_type=tf.int64)[0]
    numbered = tf.data.Dataset.from_tensor_slices((tf.range(count), contents))
    decoded = numbered.map(
        lambda index, content: (index, decode_image(content, image_shape, resize))
    ).ignore_errors()
    # One more, or a batch without a good image would be an empty dataset, which is an error.
    extra = tf.data.Dataset.from_tensors((count, tf.zeros(image_shape, tf.uint8)))
    indices, images = extra.concatenate(decoded).batch(count + 1).get_single_element()
    shape = tf.concat([[count + 1], tf.constant(image_shape, tf.int64)], axis=0)
    images = tf.scatter_nd(indices[:, None], images, shape)[:-1]
    good = tf.scatter_nd(indices[:, None], tf.ones_like(indices), [count + 1])[:-1] > 0
    return tf.ensure_shape(images, (None, *image_shape)), good


def decode_image(
    content: tf.Tensor,
    image_shape: tuple[int, int, int],
    resize: str = "center_crop",
) -> tf.Tensor:
    """Turns the content of one PNG or JPEG file into the image that a model takes.

    It agrees with `read_image`, which reads the training images: exactly for images
    of the right size, within one of 255 steps for images that must be resized (Pillow rounds once
    more, between rows and columns). What differs: the orientation that cameras write into EXIF is
    not applied; 16-bit gray is cut to 8 bits instead of rounded; a single color that a PNG without
    an alpha channel declares transparent is kept.

    An `InvalidArgumentError` is raised of what is neither PNG nor JPEG, is damaged, has more than
    `MAX_PIXELS` pixels, or is a JPEG with so many scans that decoding would take minutes.
    """
    height, width, channels = image_shape
    pixels = _decode(content)
    if channels == 1:
        pixels = _gray(pixels)
    if resize == "center_crop":
        pixels = _cropped(pixels, height, width)
    resized = tf.image.resize(pixels, (height, width), antialias=True)
    image = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
    return tf.ensure_shape(image, image_shape)


def _cropped(pixels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The middle, of the aspect ratio of `height` × `width`, to the pixel that `fit_image` cuts."""
    size = tf.shape(pixels)
    # Doubles: as Python divides, and `tf.round` rounds halves as Python does.
    own_height, own_width = tf.unstack(tf.cast(size[:2], tf.float64))
    wanted = tf.stack([tf.round(own_width * height / width), tf.round(own_height * width / height)])
    wanted = tf.minimum(size[:2], tf.maximum(tf.cast(wanted, tf.int32), 1))
    top, left = tf.unstack((size[:2] - wanted) // 2)
    return pixels[top : top + wanted[0], left : left + wanted[1]]


def _decode(content: tf.Tensor) -> tf.Tensor:
    """Decodes to uint8 `(height, width, 3)`; transparent images are laid on white."""
    # Before any byte is looked at: TensorFlow's own error would quote the file.
    length = tf.strings.length(content)
    long_enough = tf.debugging.assert_greater(length, _HEADER_BYTES, "Too short for an image")
    with tf.control_dependencies([long_enough]):
        content = tf.identity(content)
    is_png = tf.strings.substr(content, 0, 4) == b"\x89PNG"
    is_jpeg = tf.strings.substr(content, 0, 3) == b"\xff\xd8\xff"
    known = tf.debugging.Assert(is_png | is_jpeg, ["Neither PNG nor JPEG"])
    with tf.control_dependencies([known]):
        size = tf.cond(
            is_png,
            lambda: _png_size(content),
            lambda: tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64),
        )
    with tf.control_dependencies(_size_checks(size, content, is_jpeg)):
        content = tf.identity(content)
    pixels = tf.cond(is_png, lambda: _png(content), lambda: _jpeg(content))
    return tf.ensure_shape(pixels, (None, None, 3))


def _png_size(content: tf.Tensor) -> tf.Tensor:
    """Height and width, int64 `(2,)`, from the header."""
    header = tf.strings.substr(content, 16, 8)
    sides = tf.io.decode_raw(header, tf.int32, little_endian=False)
    return tf.reverse(tf.cast(tf.ensure_shape(sides, (2,)), tf.int64), [0])


def _size_checks(size: tf.Tensor, content: tf.Tensor, is_jpeg: tf.Tensor) -> list[tf.Operation]:
    values = tf.io.decode_raw(content, tf.uint8)
    # As `SCAN_HEADER` in data/images.py.
    first, second, high, low, components = (values[at : at - 5] for at in range(5))
    is_scan = (first == 0xFF) & (second == 0xDA) & (high == 0) & (low == 6 + 2 * components)
    scans = tf.math.count_nonzero(is_scan & (components - 1 < 4))
    pixels = tf.reduce_prod(size)
    return [
        tf.debugging.assert_positive(size, "Not a size of an image"),
        tf.debugging.assert_less_equal(pixels, tf.constant(MAX_PIXELS, tf.int64), "Too large"),
        tf.debugging.Assert(
            ~is_jpeg | (pixels * scans <= MAX_SCANNED_PIXELS), ["Too many scans for its size"]
        ),
    ]


def _jpeg(content: tf.Tensor) -> tf.Tensor:
    # The default is faster, and off by up to four steps.
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _png(content: tf.Tensor) -> tf.Tensor:
    # With a number of channels given, TensorFlow would leave less than 8 bits unscaled.
    pixels = tf.io.decode_png(content)
    has_alpha = tf.shape(pixels)[2] % 2 == 0
    pixels = tf.cond(has_alpha, lambda: _on_white(pixels), lambda: pixels)
    size = tf.shape(pixels)
    return tf.broadcast_to(pixels, (size[0], size[1], 3))


def _on_white(pixels: tf.Tensor) -> tf.Tensor:
    """Lays uint8 `(height, width, 2 or 4)` on white, rounded as Pillow does."""
    # In 16 bits, which just suffice: images may be large.
    color = tf.cast(pixels[:, :, :-1], tf.uint16)
    alpha = tf.cast(pixels[:, :, -1:], tf.uint16)
    blended = color * alpha + 255 * (255 - alpha) + 128
    # Division by 255, rounded: exact for products of two bytes.
    shift = tf.constant(8, tf.uint16)
    blended += tf.bitwise.right_shift(blended, shift)
    return tf.cast(tf.bitwise.right_shift(blended, shift), tf.uint8)


def _gray(pixels: tf.Tensor) -> tf.Tensor:
    """ITU-R 601 luma of uint8 `(height, width, 3)`, with the integers that Pillow uses."""
    red, green, blue = (tf.cast(pixels[:, :, channel, None], tf.int32) for channel in range(3))
    luma = 19595 * red + 38470 * green + 7471 * blue
    return tf.cast((luma + 0x8000) // 0x10000, tf.uint8)
