"""Decodes image files inside a TensorFlow graph, consistently with `data.images.read_image`."""

import tensorflow as tf

# Bounds the memory, since a file of a few kilobytes can contain a uniform image of any size.
# Decoding takes up to 20 bytes per pixel (transparent PNG).
MAX_PIXELS = 1 << 24

# Pillow's precision of the weights of neighbors.
_WEIGHT_BITS = 22


def decode_images(
    contents: tf.Tensor, image_shape: tuple[int, int, int], resize: str = "center_crop"
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a batch of image files, some of which may be invalid.

    A graph can't catch exceptions, but a `tf.data` pipeline can drop the elements that failed. The
    indices of the remaining elements show which ones were dropped.

    Args:
        contents: String tensor `(B,)`, contents of PNG or JPEG files.
        image_shape: As in `read_image`.
        resize: As in `read_image`, but not `"crop"`.

    Returns:
        uint8 tensor `(B, height, width, channels)`, 0 for invalid files; and boolean tensor `(B,)`,
        true for the files that `decode_image` can decode.
    """
    count = tf.shape(contents, out_type=tf.int64)[0]
    numbered = tf.data.Dataset.from_tensor_slices((tf.range(count), contents))
    decoded = numbered.map(
        lambda index, content: (index, decode_image(content, image_shape, resize))
    ).ignore_errors()
    # An extra element, because an empty dataset (without a valid image) would be an error.
    extra = tf.data.Dataset.from_tensors((count, tf.zeros(image_shape, tf.uint8)))
    indices, images = extra.concatenate(decoded).batch(count + 1).get_single_element()
    shape = tf.concat([[count + 1], tf.constant(image_shape, tf.int64)], axis=0)
    images = tf.scatter_nd(indices[:, None], images, shape)[:-1]
    good = tf.scatter_nd(indices[:, None], tf.ones_like(indices), [count + 1])[:-1] > 0
    return tf.ensure_shape(images, (None, *image_shape)), good


def decode_image(
    content: tf.Tensor, image_shape: tuple[int, int, int], resize: str = "center_crop"
) -> tf.Tensor:
    """Decodes a PNG or JPEG file to an image of the shape that a model expects.

    The result is that of `read_image`, which reads training images, to the last bit. Only in gray
    PNG files of 1, 2 or 4 bits, a transparent color stays opaque.

    It raises an `InvalidArgumentError` if the file is neither PNG nor JPEG, is damaged, or has more
    than `MAX_PIXELS` pixels.
    """
    height, width, channels = image_shape
    pixels = _upright(_decode(content), content)
    if channels == 1:
        pixels = _gray(pixels)
    if resize == "center_crop":
        pixels = _cropped(pixels, height, width)
    own_height, own_width = tf.unstack(tf.shape(pixels)[:2])
    # As in Pillow, the width is resized first, except in very high images.
    pixels = tf.cond(
        (own_height > 100 * own_width) & (own_height > height),
        lambda: _resized(_resized(pixels, height, axis=0), width, axis=1),
        lambda: _resized(_resized(pixels, width, axis=1), height, axis=0),
    )
    return tf.ensure_shape(pixels, image_shape)


def _resized(pixels: tf.Tensor, size: int, axis: int) -> tf.Tensor:
    """Resizes an axis of uint8 pixels with Pillow's bilinear filter, rounded as in Pillow."""
    places, weights = _bilinear(tf.shape(pixels)[axis], size)
    weights = weights[:, :, None, None] if axis == 0 else weights[:, None, :, None]

    # One neighbor of each result at a time, so that the memory does not grow with the filter.
    def add_neighbor(index: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        neighbors = tf.cast(tf.gather(pixels, places[index], axis=axis), tf.int32)
        return index + 1, total + neighbors * weights[index]

    shape = tf.tensor_scatter_nd_update(tf.shape(pixels), [[axis]], [size])
    start = (tf.constant(0), tf.fill(shape, 1 << _WEIGHT_BITS - 1))
    count = tf.shape(places)[0]
    static = tf.TensorShape([size if one == axis else None for one in range(2)])
    shapes = (tf.TensorShape([]), static.concatenate(pixels.shape[2:]))
    _, total = tf.while_loop(lambda index, _: index < count, add_neighbor, start, shapes)
    return tf.cast(tf.clip_by_value(total // (1 << _WEIGHT_BITS), 0, 255), tf.uint8)


def _bilinear(old: tf.Tensor, new: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the neighbors of each of `new` results among `old` pixels, and their weights.

    Both are int32 `(neighbors, new)`. As in Pillow, the filter is wider than two pixels if the size
    decreases, and the weights are integers with the sum `1 << _WEIGHT_BITS`, up to rounding.
    """
    scale = tf.cast(old, tf.float64) / new
    reach = tf.maximum(scale, 1)
    centers = (tf.range(new, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centers - reach + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(centers + reach + 0.5, tf.int32), old)
    places = first + tf.range(tf.reduce_max(end - first))[:, None]
    distances = tf.abs(tf.cast(places, tf.float64) - centers + 0.5) * (1 / reach)
    weights = tf.where(places < end, tf.maximum(1 - distances, 0), 0)
    weights = weights / tf.reduce_sum(weights, axis=0) * (1 << _WEIGHT_BITS)
    return tf.minimum(places, old - 1), tf.cast(weights + 0.5, tf.int32)


def _cropped(pixels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Crops the center to the aspect ratio `height` × `width`, exactly as `fit_image` does."""
    size = tf.shape(pixels)
    # float64, like Python's division. `tf.round` rounds halves as Python does.
    own_height, own_width = tf.unstack(tf.cast(size[:2], tf.float64))
    wanted = tf.stack([tf.round(own_width * height / width), tf.round(own_height * width / height)])
    wanted = tf.minimum(size[:2], tf.maximum(tf.cast(wanted, tf.int32), 1))
    top, left = tf.unstack((size[:2] - wanted) // 2)
    return pixels[top : top + wanted[0], left : left + wanted[1]]


def _decode(content: tf.Tensor) -> tf.Tensor:
    """Decodes to uint8 `(height, width, 3)`. Transparent images are blended with white."""
    # Checked first, because TensorFlow's error would quote the content. A PNG's header has 26 bytes
    # up to the color type.
    length = tf.strings.length(content)
    long_enough = tf.debugging.assert_greater(length, 26, "Too short for an image")
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
    with tf.control_dependencies(_size_checks(size)):
        content = tf.identity(content)
    # JPEG's default method is faster, but has errors of up to four steps.
    jpeg = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}
    pixels = tf.cond(is_png, lambda: _png(content), lambda: tf.io.decode_jpeg(content, **jpeg))
    return tf.ensure_shape(pixels, (None, None, 3))


def _upright(pixels: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """Applies the EXIF orientation of a file to its decoded pixels `(height, width, 3)`."""
    # The entry 0x0112 in either byte order: its type, a number of 16 bits, its length, 1, and then
    # the orientation from 1 to 8. The first entry is that of the image and not of its thumbnail.
    little = tf.strings.split(content, b"\x12\x01\x03\0\x01\0\0\0")[1:]
    big = tf.strings.split(content, b"\x01\x12\0\x03\0\0\0\x01\0")[1:]
    value = tf.strings.substr(tf.concat([little, big, [b"\x01"]], axis=0)[0], 0, 1)
    orientation = tf.io.decode_raw(value, tf.uint8)[0]

    def step(*mirrored: int) -> tf.Tensor:
        return tf.where(tf.reduce_any(orientation == tf.constant(mirrored, tf.uint8)), -1, 1)

    is_transposed = (orientation >= 5) & (orientation <= 8)
    pixels = tf.cond(is_transposed, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
    upright = pixels[:: step(3, 4, 7, 8), :: step(2, 3, 6, 7)]
    return tf.ensure_shape(upright, (None, None, 3))


def _png_size(content: tf.Tensor) -> tf.Tensor:
    """Returns height and width, int64 `(2,)`, from a PNG's header."""
    header = tf.strings.substr(content, 16, 8)
    sides = tf.io.decode_raw(header, tf.int32, little_endian=False)
    return tf.reverse(tf.cast(tf.ensure_shape(sides, (2,)), tf.int64), [0])


def _size_checks(size: tf.Tensor) -> list[tf.Operation]:
    pixels = tf.reduce_prod(size)
    return [
        tf.debugging.assert_positive(size, "Invalid image size"),
        tf.debugging.assert_less_equal(pixels, tf.constant(MAX_PIXELS, tf.int64), "Too large"),
    ]


def _png(content: tf.Tensor) -> tf.Tensor:
    # The header's number of bits, and its kind of colors: 0 is gray, and 2 is RGB.
    bits, kind = tf.unstack(
        tf.ensure_shape(tf.io.decode_raw(tf.strings.substr(content, 24, 2), tf.uint8), (2,))
    )
    is_plain = (kind == 0) | (kind == 2)
    pixels = tf.case(
        [
            (is_plain & (bits == 8), lambda: _png_of_transparent_color(content)),
            ((kind == 0) & (bits == 16), lambda: _png_of_16_bits(content)),
        ],
        # Without `channels`, because TensorFlow would then not scale images with less than 8 bits.
        default=lambda: tf.io.decode_png(content),
    )
    has_alpha = tf.shape(pixels)[2] % 2 == 0
    pixels = tf.cond(has_alpha, lambda: _on_white(pixels), lambda: pixels)
    size = tf.shape(pixels)
    return tf.broadcast_to(pixels, (size[0], size[1], 3))


def _png_of_transparent_color(content: tf.Tensor) -> tf.Tensor:
    """Decodes to RGB and alpha, which is 0 in the transparent color that a file may have."""
    return tf.io.decode_png(content, channels=4)


def _png_of_16_bits(content: tf.Tensor) -> tf.Tensor:
    """Decodes gray values of 16 bits, rounded to 8."""
    values = tf.cast(tf.io.decode_png(content, channels=1, dtype=tf.uint16), tf.int32)
    return tf.cast((values + 128) // 257, tf.uint8)


def _on_white(pixels: tf.Tensor) -> tf.Tensor:
    """Blends uint8 `(height, width, 2 or 4)` with white, rounded as in Pillow."""
    # 16 bits suffice exactly, and save memory.
    color = tf.cast(pixels[:, :, :-1], tf.uint16)
    alpha = tf.cast(pixels[:, :, -1:], tf.uint16)
    blended = color * alpha + 255 * (255 - alpha) + 128
    # Rounded division by 255, exact for products of two bytes.
    shift = tf.constant(8, tf.uint16)
    blended += tf.bitwise.right_shift(blended, shift)
    return tf.cast(tf.bitwise.right_shift(blended, shift), tf.uint8)


def _gray(pixels: tf.Tensor) -> tf.Tensor:
    """Returns the ITU-R 601 luma of uint8 `(height, width, 3)`, with Pillow's coefficients."""
    red, green, blue = (tf.cast(pixels[:, :, channel, None], tf.int32) for channel in range(3))
    luma = 19595 * red + 38470 * green + 7471 * blue
    return tf.cast((luma + 0x8000) // 0x10000, tf.uint8)
