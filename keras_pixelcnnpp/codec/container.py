"""The file of compressed pictures: who wrote it, names, streams, and a checksum of each picture.

| bytes | what |
|---|---|
| 8 | `MAGIC` |
| 1 | version of the format |
| 16 | SHA-256 of all that follows, its beginning |
| 4 | length of the header |
| | header: JSON, compressed by zlib |
| | a stream for each batch, of which the header has the length |
| | PNG files of pictures that would not decode, likewise |
| 4 each | CRC-32 of each picture |

Numbers are little-endian.
"""

import hashlib
import itertools
import json
import math
import struct
import zlib
from dataclasses import dataclass
from importlib import metadata

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import device_name, progress, versions
from keras_pixelcnnpp.checks import checked_images, checked_labels, require_positive_integer
from keras_pixelcnnpp.codec.coder import PixelCoder, require_constriction
from keras_pixelcnnpp.data.images import open_image, png_bytes
from keras_pixelcnnpp.errors import UserError

MAGIC, VERSION = b"\x89PXC\r\n\x1a\n", 1
DIGEST_BYTES = 16
# A header has some hundred bytes, and a name for each picture.
MOST_HEADER_BYTES = 64 << 20
# The memory of a pass grows with its batch, which a file says.
LARGEST_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Compressed:
    """What `compress_pictures` returns.

    Args:
        data: The content of the file.
        labels: int32 `(N,)`, the label that each picture was coded under; zeros for an
            unconditional model.
        num_coded_bytes: Integer, the length of the streams: of labels and pictures, without names,
            checksums and header.
        num_stored: Integer, how many pictures had to be stored as PNG.
    """

    data: bytes
    labels: np.ndarray
    num_coded_bytes: int
    num_stored: int


@dataclass(frozen=True, eq=False)
class Decompressed:
    """What `decompress_pictures` returns.

    Args:
        images: uint8 levels `(N, height, width, channels)`.
        labels: int32 `(N,)`, see `Compressed`.
        names: List of N strings, or `None` if the file has none.
    """

    images: np.ndarray
    labels: np.ndarray
    names: list[str] | None


def compress_pictures(
    model,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    names: list[str] | None = None,
    batch_size: int = 100,
    verbose: int | str = "auto",
) -> Compressed:
    """Compresses pictures without loss; see `AutoregressiveModel.compress`.

    Args:
        model: An `AutoregressiveModel`.
        images: uint8 levels `(N, height, width, channels)`.
        labels: Int `(N,)`, or `None` for the class that makes each picture shortest.
        names: A name for each picture, or `None`.
        batch_size: Integer from 1 to 1024.
        verbose: 0, 1 or `"auto"`.

    Returns:
        A `Compressed`.

    Raises:
        ValueError: If an argument doesn't fit the model.
        UserError: If constriction is not installed.
    """
    require_constriction()
    images = checked_images(images, model.image_shape, model.num_levels)
    _require_batch_size(batch_size)
    count = len(images)
    batch_size = max(1, min(batch_size, count))
    if model.num_classes == 0:
        labels = np.zeros(count, "int32")
    elif labels is None:
        scores = model.class_log_likelihoods(images, verbose=verbose)
        labels = scores.argmax(axis=1).astype("int32")
    labels = checked_labels(labels, count, max(model.num_labels, 1))

    coder = _coder(model, batch_size)
    streams, stored = [], {}
    tick = _tick(model, 2 * math.ceil(count / batch_size), verbose)
    for start in range(0, count, batch_size):
        batch = slice(start, start + batch_size)
        pictures = images[batch]
        stream = coder.encode(pictures, labels[batch], batch_size, tick)
        # A promise of equal floats is not enough for somebody's only copy.
        decoded, _ = coder.decode(stream, len(pictures), batch_size, tick)
        wrong = np.flatnonzero((decoded != pictures).any(axis=(1, 2, 3)))
        stored.update({start + index: _as_png(pictures[index]) for index in wrong})
        streams.append(stream)
    header = {
        "model": model_checksum(model),
        **_written_by(),
        "image_shape": model.image_shape,
        "num_levels": model.num_levels,
        "count": count,
        "batch_size": batch_size,
        "streams": [len(stream) for stream in streams],
        "stored": {str(index): len(png) for index, png in stored.items()},
        "names": names,
    }
    packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    checksums = np.array([zlib.crc32(picture.tobytes()) for picture in images], "<u4")
    body = struct.pack("<I", len(packed)) + packed
    body += b"".join([*streams, *stored.values(), checksums.tobytes()])
    data = MAGIC + bytes([VERSION]) + _digest(body) + body
    return Compressed(data, labels, sum(map(len, streams)), len(stored))


def decompress_pictures(model, data: bytes, verbose: int | str = "auto") -> Decompressed:
    """Reads what `compress_pictures` wrote; see `AutoregressiveModel.decompress`.

    Args:
        model: The model that compressed, under the same backend.
        data: The content of the file.
        verbose: 0, 1 or `"auto"`.

    Returns:
        A `Decompressed`.

    Raises:
        UserError: If the pictures would not be those that were compressed; one line that says why.
    """
    require_constriction()
    header, body = _opened(data)
    _require_same(header, model)
    count, batch_size, lengths, stored, names = _checked(header, len(body))
    checksums = np.frombuffer(body[len(body) - 4 * count :], "<u4")
    streams, pictures = _cut(body, lengths), _cut(body[sum(lengths) :], stored.values())
    stored = dict(zip(stored, pictures, strict=True))

    coder = _coder(model, batch_size)
    images, labels = np.zeros((0, *model.image_shape), "uint8"), np.zeros(0, "int32")
    tick = _tick(model, len(lengths), verbose)
    # Batch by batch, each checked before the next: a file that lies ends here early.
    for start, stream in zip(range(0, count, batch_size), streams, strict=True):
        size = min(batch_size, count - start)
        decoded, coded_labels = coder.decode(stream, size, batch_size, tick)
        decoded = decoded.copy()
        for index in range(size):
            if start + index in stored:
                decoded[index] = _from_png(stored[start + index], model.image_shape)
            if zlib.crc32(decoded[index].tobytes()) != checksums[start + index]:
                raise UserError(_other_floats(header))
        images = np.concatenate([images, decoded])
        labels = np.concatenate([labels, coded_labels])
    return Decompressed(images, labels, names)


def read_header(data: bytes) -> dict:
    """What a file says of itself: the model's checksum, names, lengths, who wrote it.

    Raises:
        UserError: If the file is damaged or no file of compressed pictures.
    """
    header, body = _opened(data)
    _checked(header, len(body))
    return header


def model_checksum(model) -> str:
    """SHA-256, in hexadecimal, of all that p(x | y) depends on: configuration and weights.

    The model's name, its optimizer and its posterior don't count.

    Args:
        model: An `AutoregressiveModel`.
    """
    config = {"class": type(model).__name__, **model.get_config()}
    config = {name: value for name, value in config.items() if name not in ("name", "trainable")}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for part in (model.network, model.distribution):
        if isinstance(part, keras.layers.Layer):
            for weight in part.weights:
                values = ops.convert_to_numpy(weight.value)
                digest.update(f"{values.shape}{values.dtype}".encode() + values.tobytes())
    return digest.hexdigest()


def _coder(model, batch_size):
    # One for each batch size: asked for a second one, TensorFlow would compile for any, and that
    # may round otherwise.
    coders = model.runners.coders
    if batch_size not in coders:
        coders[batch_size] = PixelCoder(model)
    return coders[batch_size]


def _require_batch_size(batch_size):
    require_positive_integer("batch_size", batch_size)
    if batch_size > LARGEST_BATCH:
        raise ValueError(
            f"Invalid value for argument `batch_size`. Expected at most {LARGEST_BATCH}. "
            f"Received: batch_size={batch_size}"
        )


def _tick(model, passes, verbose):
    return progress(passes * math.prod(model.image_shape), verbose, "sub-pixel")


def _digest(body):
    return hashlib.sha256(body).digest()[:DIGEST_BYTES]


def _written_by():
    known = versions()
    backend = known["backend"]
    return {
        "backend": backend,
        "versions": f"{backend} {known[backend]}, keras {known['keras']}, "
        f"constriction {metadata.version('constriction')}",
        "machine": f"{known['machine']}, {device_name()}",
    }


def _as_png(levels):
    # Side by side in grey: so a PNG holds any number of channels.
    return png_bytes(levels.reshape(levels.shape[0], -1, 1))


def _from_png(content, image_shape):
    height, width, channels = image_shape
    levels = np.asarray(open_image(content, 1))
    if levels.shape != (height, width * channels):
        raise UserError(_DAMAGED)
    return levels.reshape(image_shape)


_DAMAGED = "The compressed pictures are damaged: they are not what was written"


def _opened(data):
    """The header and what follows it, if the file is whole."""
    if not data.startswith(MAGIC):
        raise UserError("These are no compressed pictures: the file does not begin as they do")
    version = data[len(MAGIC) : len(MAGIC) + 1]
    if version not in (b"", bytes([VERSION])):
        raise UserError(
            f"The compressed pictures are in version {version[0]} of the format; this program "
            f"reads version {VERSION}"
        )
    start = len(MAGIC) + 1 + DIGEST_BYTES
    body = data[start:]
    if data[len(MAGIC) + 1 : start] != _digest(body) or len(body) < 4:
        raise UserError(_DAMAGED)
    (length,) = struct.unpack("<I", body[:4])
    unpacked = zlib.decompressobj()
    try:
        header = json.loads(unpacked.decompress(body[4 : 4 + length], MOST_HEADER_BYTES))
    # Bad zlib, UTF-8 or JSON, numbers of thousands of digits; brackets within brackets.
    except (zlib.error, ValueError, RecursionError) as error:
        raise UserError(_DAMAGED) from error
    if not isinstance(header, dict):
        raise UserError(_DAMAGED)
    return header, body[4 + length :]


def _require_same(header, model):
    """Refuses what would surely decode to something else."""
    there, here = header.get("model"), model_checksum(model)
    if there != here:
        shape, num_levels = header.get("image_shape"), header.get("num_levels")
        raise UserError(
            f"The pictures were compressed by another model. Expected: sha256 {there!r:.9}…, "
            f"pictures of {shape!r:.30}, {num_levels!r:.10} levels. "
            f"Received: sha256 {here!r:.9}…, pictures of {list(model.image_shape)}, "
            f"{model.num_levels} levels"
        )
    there, here = header.get("backend"), keras.backend.backend()
    if there != here:
        raise UserError(
            "The pictures were compressed under another backend, which rounds otherwise. Expected: "
            f"KERAS_BACKEND={there!r:.20}. Received: {here!r}"
        )


def _checked(header, size):
    """What the header says of what follows it, if that adds up."""
    try:
        count, batch_size = header["count"], header["batch_size"]
        lengths, names = header["streams"], header["names"]
        stored = {int(index): length for index, length in header["stored"].items()}
        numbers = [count, batch_size, *lengths, *stored, *stored.values()]
        good = (
            all(type(number) is int and number >= 0 for number in numbers)
            and 1 <= batch_size <= LARGEST_BATCH
            and len(lengths) == math.ceil(count / batch_size)
            and all(length % 4 == 0 for length in lengths)
            and sum(lengths) + sum(stored.values()) + 4 * count == size
            and (names is None or [type(name) for name in names] == [str] * count)
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(_DAMAGED) from error
    if not good:
        raise UserError(_DAMAGED)
    return count, batch_size, lengths, stored, names


def _cut(body, lengths):
    ends = np.cumsum([0, *lengths])
    return [body[start:end] for start, end in itertools.pairwise(ends)]


def _other_floats(header):
    here = _written_by()
    there = {name: " ".join(str(header.get(name)).split())[:100] for name in here}
    return (
        "The pictures come out otherwise than they went in: floats round otherwise here. Expected: "
        f"{there['versions']} on {there['machine']}. Received: {here['versions']} on "
        f"{here['machine']}"
    )
