"""Decodes image files, resizes images, encodes PNG files, and arranges images in grids."""

import io
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from keras_pixelcnnpp.utils.checks import conversion, require_choice
from keras_pixelcnnpp.utils.errors import UserError, one_line

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
RESIZES = ("center_crop", "stretch", "crop")
UNKNOWN_GRAY = 200  # value of unknown pixels in grids of completions


def read_image(
    path_or_bytes: str | Path | bytes,
    image_shape: tuple[int, int, int],
    resize: str = "center_crop",
    white_level: int | None = None,
) -> np.ndarray:
    """Reads an image file of any size and mode, and converts it to the given shape.

    Args:
        path_or_bytes: Path of the file, or its content as bytes.
        image_shape: Triple of integers `(height, width, channels)`, with 1 or 3 channels.
        resize: `"center_crop"` to crop the center to the aspect ratio of `image_shape` first,
            `"stretch"` to change the aspect ratio, or `"crop"` to only cut out the center. The
            filter is Pillow's bilinear one, with antialiasing.
        white_level: Integer, value of a 16-bit gray image that is mapped to 255, such as 4095 for
            12 bits. Larger values are clipped. `None` for 65535.

    Returns:
        uint8 array `(height, width, channels)`, values from 0 to 255.

    Raises:
        UserError: If the file can't be read, is too small for a crop, or `image_shape` has neither
            1 nor 3 channels.

    Example:

    ```python
    read_image("koala.jpg", (32, 32, 3)).shape      # (32, 32, 3)
    ```
    """
    check_channels(image_shape)
    image = open_image(path_or_bytes, image_shape[2], white_level)
    return fit_image(image, image_shape[:2], resize)


def open_image(
    path_or_bytes: str | Path | bytes,
    channels: int,
    white_level: int | None = None,
    as_uint16: bool = False,
) -> Image.Image:
    """Decodes a PNG, JPEG, WebP, BMP, GIF or TIFF file to gray (1 channel) or RGB (3 channels).

    For files with several frames, the first is used. Palette, CMYK and 16-bit images are
    converted, transparent images are blended with white, and the EXIF orientation is applied. With
    `as_uint16`, the file must be a 16-bit gray image, whose values are kept in mode `"F"`.
    `Changes` counts images that this changes.

    Raises:
        UserError: If the file has another format, is damaged, is a TIFF of several pages, or has
            more pixels than Pillow's limit (about 89 million).
    """
    with opened(path_or_bytes) as image:
        # Not `n_frames`, for which Pillow reads all pages, in quadratic time.
        if image.format == "TIFF" and getattr(image, "is_animated", False):
            raise UserError(
                "expected one image in a file. Received: a TIFF of several pages. Save each page "
                "as a file, or all pages as the array images of an .npz file"
            )
        upright = ImageOps.exif_transpose(image)
        return _deep(upright) if as_uint16 else _converted(upright, channels, white_level)


@contextmanager
def opened(
    path_or_bytes: str | Path | bytes, formats: tuple[str, ...] = FORMATS
) -> Iterator[ImageFile.ImageFile]:
    """Context manager that opens an image file, whose pixels are decoded when they are used.

    Without `formats`, Pillow would open many more, for some of which it starts other programs. Any
    error in the block becomes a `UserError` that begins with the name of the file.
    """
    name = "image" if isinstance(path_or_bytes, bytes) else str(path_or_bytes)
    try:
        file = io.BytesIO(path_or_bytes) if isinstance(path_or_bytes, bytes) else path_or_bytes
        # Opening a pipe or a device would block.
        if file is path_or_bytes and Path(file).exists() and not Path(file).is_file():
            raise UserError("not a file")
        with warnings.catch_warnings():
            # Most of Pillow's warnings, such as an unusual EXIF block, don't help users. The
            # exception is the warning that an image is too large.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=formats) as image:
                yield image
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{name}: not an image ({', '.join(formats)})") from error
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    # Any exception, because Pillow's decoders raise all kinds of errors for damaged files.
    except Exception as error:
        raise UserError(f"{name}: cannot be read: {one_line(error)}") from error


def fit_image(image: Image.Image, size: tuple[int, int], resize: str = "center_crop") -> np.ndarray:
    """Resizes a gray or RGB image to `size` like `read_image`, with antialiasing (bilinear).

    Returns uint8 `(height, width, channels)`, values from 0 to 255, or uint16 for mode `"F"`.
    """
    require_choice("resize", resize, RESIZES)
    height, width = size
    if resize == "crop" and (image.width < width or image.height < height):
        raise UserError(f"Expected at least {width}×{height} pixels. Received: {_size(image.size)}")
    across, down = _kept(image, size, resize)
    if image.size != (across, down):
        # Not `ImageOps.fit`, whose border also depends on pixels outside of the crop.
        left, top = (image.width - across) // 2, (image.height - down) // 2
        image = image.crop((left, top, left + across, top + down))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    pixels = np.rint(pixels).astype("uint16") if image.mode == "F" else pixels
    return pixels.reshape(height, width, -1)


def _kept(image: Image.Image, size: tuple[int, int], resize: str) -> tuple[int, int]:
    """Returns the width and height of the central part of an image that `fit_image` keeps."""
    height, width = size
    if resize == "stretch":
        return image.size
    if resize == "crop":
        return width, height
    across = min(image.width, max(1, round(image.height * width / height)))
    return across, min(image.height, max(1, round(image.width * height / width)))


def _size(size: tuple[int, int]) -> str:
    return "×".join(map(str, size))


# Facts about a file, in the `info` of an image that `open_image` returns.
_IS_TRANSPARENT, _CLIPPED_SHARE = "is transparent", "clipped share"


class Changes:
    """Counts what reading changes in image files, to tell the user.

    Attributes:
        total: Number of images.
        any_smaller: Boolean, whether an image is lower or narrower than what it is resized to.
    """

    RESIZED = "Resized"
    CENTER = "Cut to their centers"
    CROPPED = "Cropped to another aspect ratio"
    GRAY = "Gray, read as RGB"
    TRANSPARENT = "Transparent, blended with white"
    CLIPPED = "Brighter than the white level, clipped"
    OF_SIZE = (RESIZED, CENTER, CROPPED)

    def __init__(self) -> None:
        self.total, self.any_smaller = 0, False
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, name: str, image: Image.Image, pixels: np.ndarray, resize: str) -> None:
        """Adds an image of `open_image`, which `fit_image` has made `(height, width, channels)`."""
        height, width, channels = pixels.shape
        kept = _kept(image, (height, width), resize)
        self.total += 1
        self.any_smaller |= image.width < width or image.height < height
        if kept != (width, height):
            self._count(self.RESIZED, f"{name} ({_size(image.size)} to {_size((width, height))})")
        if kept != image.size:
            kind = self.CENTER if resize == "crop" else self.CROPPED
            self._count(kind, f"{name} ({_size(image.size)} to {_size(kept)})")
        if channels == 3 and (pixels == pixels[..., :1]).all():
            self._count(self.GRAY, name)
        if image.info.get(_IS_TRANSPARENT):
            self._count(self.TRANSPARENT, name)
        if share := image.info.get(_CLIPPED_SHARE):
            self._count(self.CLIPPED, f"{name} ({100 * share:.2g}% of its values)")

    def _count(self, kind: str, example: str) -> None:
        self._counts[kind] += 1
        self._examples.setdefault(kind, example)

    def update(self, other: "Changes") -> None:
        """Adds the images of another object."""
        self.total += other.total
        self.any_smaller |= other.any_smaller
        self._counts += other._counts
        self._examples = {**other._examples, **self._examples}

    def notes(self) -> dict[str, str]:
        """Returns a message for each kind of change, with a number and an example."""
        many = {
            kind: f"{count:,} of {self.total:,} images, such as "
            for kind, count in self._counts.items()
            if self.total > 1
        }
        return {
            kind: f"{kind}: {many.get(kind, '')}{example}."
            for kind, example in self._examples.items()
        }


def resized_note(old: tuple[int, int], new: tuple[int, int]) -> tuple[str, ...]:
    """Returns a message for the user if images of the size `(height, width)` are resized."""
    before, after = ("×".join(map(str, reversed(size))) for size in (old, new))
    return () if before == after else (f"Images resized from {before} to {after}.",)


def resize_images(
    images: np.ndarray,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    resize: str = "center_crop",
) -> np.ndarray:
    """Resizes and converts images `(N, height, width, channels)`, like `read_image`.

    They are uint8, or gray uint16. By default, size and channels are kept. Raises a `UserError` if
    images must be converted, but have neither 1 nor 3 channels.
    """
    size, channels = image_size or images.shape[1:3], channels or images.shape[-1]
    if (*size, channels) == images.shape[1:]:
        return images
    check_channels(images.shape)
    deep = images.dtype == np.uint16
    if deep and not images.shape[-1] == channels == 1:
        raise UserError(
            "Expected gray images, because others of 16 bits cannot be converted. Received: "
            f"{images.shape[-1]} channels, to be converted to {channels}"
        )
    images = [as_image(image) for image in images]
    images = [_deep(image) if deep else _converted(image, channels) for image in images]
    return np.stack([fit_image(image, size, resize) for image in images])


def image_grid(pixels: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Arranges images in a grid with white lines between them, and enlarges small images.

    Args:
        pixels: uint8 array `(N, height, width, channels)`, 0 to 255; or uint16 array, which is
            shown as `stretched`.
        columns: Integer, number of columns. By default, the grid is about square.

    Returns:
        uint8 array `(grid_height, grid_width, channels)`.

    Raises:
        UserError: If the images are neither uint8 nor uint16.
    """
    pixels = stretched(pixels)
    count, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows, gap = math.ceil(count / columns), 1
    grid = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8
    )
    for index, image in enumerate(pixels):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        grid[top : top + height, left : left + width] = image
    enlarge = max(1, 64 // max(height, width))
    return grid.repeat(enlarge, axis=0).repeat(enlarge, axis=1)


def stretched(pixels: np.ndarray) -> np.ndarray:
    """Returns images of any shape as uint8, to look at: uint8 as they are, uint16 stretched.

    The lowest value becomes black and the highest one white, of all images together.

    Raises:
        UserError: If the images are neither uint8 nor uint16.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16:  # other values would wrap around
        raise UserError(
            "Expected uint8 or uint16 images. "
            f"Received: dtype={pixels.dtype}. {conversion(name='pixels')}"
        )
    low, high = _range(pixels)
    return ((pixels.astype("int64") - low) * 255 // max(high - low, 1)).astype("uint8")


def stretch_note(pixels: np.ndarray) -> str:
    """Returns a message that says which values `stretched` shows as black and white; or nothing."""
    if pixels.dtype == np.uint8:
        return ""
    low, high = _range(pixels)
    return f"Stretched to be seen: black is {low:,}, and white is {high:,}."


def unknown_value(pixels: np.ndarray) -> int:
    """Returns the value of unknown pixels among images, which `stretched` shows in light gray."""
    if pixels.dtype == np.uint8:
        return UNKNOWN_GRAY
    low, high = _range(pixels)
    return low + (high - low) * UNKNOWN_GRAY // 255


def _range(pixels: np.ndarray) -> tuple[int, int]:
    return (int(pixels.min()), int(pixels.max())) if pixels.size else (0, 0)


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encodes an image as a PNG file.

    Args:
        pixels: uint8 array `(height, width, channels)`, 0 to 255, with 1 or 3 channels; or uint16
            array with 1 channel, for a gray file of 16 bits.

    Raises:
        UserError: If the image has another number of channels.
    """
    check_channels(pixels.shape, pixels.dtype)
    buffer = io.BytesIO()
    as_image(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def png_bits(images: np.ndarray) -> np.ndarray:
    """Returns the size of each image as a PNG file with its header, float64 `[count]`, in bits."""
    # An image that is neither gray nor RGB of 8 bits is written as one file for each channel.
    if images.shape[-1] not in (1, 3 if images.dtype == np.uint8 else 1):
        channels = np.split(images, images.shape[-1], axis=-1)
        return np.sum([png_bits(channel) for channel in channels], axis=0)
    return np.array([8.0 * len(png_bytes(pixels)) for pixels in images])


def as_image(pixels: np.ndarray) -> Image.Image:
    """Converts uint8 `(height, width, channels)` with 1 or 3 channels to a Pillow image.

    So are uint16 images with 1 channel.
    """
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def check_channels(shape: Sequence[int], dtype: Any = "uint8") -> None:
    """Raises a `UserError` unless image files have the last axis of a shape, the channels.

    There are 1 or 3, and 1 in files of 16 bits.
    """
    if dtype == "uint16" and shape[-1] != 1:
        raise UserError(
            "Expected images of 1 channel, because image files of 16 bits are gray. "
            f"Received: {shape[-1]} channels"
        )
    if shape[-1] not in (1, 3):
        raise UserError(
            f"Expected images of 1 or 3 channels, gray or RGB. Received: {shape[-1]} channels"
        )


def _converted(image: Image.Image, channels: int, white_level: int | None = None) -> Image.Image:
    """Converts an image to gray or RGB."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith(("I", "F")):
        # 16-bit gray: Pillow's own conversion would clip at 255 instead of scaling.
        values, white = np.asarray(_deep(image), "float64"), white_level or 65535
        clipped = np.mean(values > white)
        values = np.rint(values * (255 / white)).clip(0, 255)
        image = Image.fromarray(values.astype("uint8"))
        image.info = {_CLIPPED_SHARE: clipped}
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        is_transparent = image.getchannel("A").getextrema() != (255, 255)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image.info = {_IS_TRANSPARENT: is_transparent}
    return image if image.mode == mode else image.convert(mode)


def _deep(image: Image.Image) -> Image.Image:
    """Returns a gray image of 16 bits with its values, in a mode that Pillow can resize."""
    advice = "Save other images as the array images of an .npz file"
    if not image.mode.startswith("I"):
        raise UserError(f"expected a gray image of 16 bits. Received: mode {image.mode}. {advice}")
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        found = f"{values.min()} to {values.max()}"
        raise UserError(f"expected values from 0 to 65535. Received: {found}. {advice}")
    return Image.fromarray(values.astype("float32"))
