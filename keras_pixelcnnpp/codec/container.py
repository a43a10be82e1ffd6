"""The file of compressed images: who wrote it, names, streams, and a checksum of each image.

| bytes | what |
|---|---|
| 9 | `MAGIC`, the last byte of which is the version of the format |
| 16 | SHA-256 of all that follows, its beginning |
| 4 | length of the header |
| | header: JSON, compressed by zlib |
| | a stream for each batch, of which the header has the length |
| 4 each | CRC-32 of each image's levels |

Numbers are little-endian.
"""

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.backend import device_name, progress, versions
from keras_pixelcnnpp.checks import checked_images, require_integer
from keras_pixelcnnpp.codec.coder import PixelCoder, require_constriction
from keras_pixelcnnpp.distributions.levels import to_images, to_levels
from keras_pixelcnnpp.errors import UserError, invalid_argument

MAGIC = b"\x89PXC\r\n\x1a\n\x01"
DIGEST_BYTES = 16
# A header has some hundred bytes, and a name for each image.
MAX_HEADER_BYTES = 64 << 20
# Arguments of a model that p(x | y) does not depend on.
NOT_OF_IMAGES = (
    *("name", "trainable", "class_names", "dropout_rate", "label_loss_weight", "num_candidates"),
    *("unlabeled_weight", "initial_logit_scale", "learn_logit_scale", "learn_class_bias"),
)
# The memory of a pass grows with its batch, which a file says.
MAX_BATCH_SIZE = 1024


@dataclass(frozen=True, eq=False)
class Compressed:
    """What `compress_images` returns.

    Args:
        data: The content of the file.
        labels: int32 `(N,)`, the label that each image was coded under; zeros for an unconditional
            model.
        num_coded_bytes: Integer, the length of the streams: of labels and images, without names,
            checksums and header.
    """

    data: bytes
    labels: np.ndarray
    num_coded_bytes: int


def compress_images(
    model: keras.Model,
    images: np.ndarray,
    labels: ArrayLike | None = None,
    names: list[str] | None = None,
    batch_size: int = 100,
    verbose: int | str = "auto",
) -> Compressed:
    """Compresses images, in the model's levels, without loss; see `AutoregressiveModel.compress`.

    Args:
        model: An `AutoregressiveModel`.
        images: uint8 `(N, height, width, channels)`.
        labels: Int `(N,)`, or `None` for the class that makes each image shortest.
        names: A name for each image, or `None`.
        batch_size: Integer from 1 to 1024.
        verbose: 0, 1 or `"auto"`.

    Returns:
        A `Compressed`.

    Raises:
        ValueError: If an argument doesn't fit the model.
        UserError: If constriction is not installed, or the floats of this machine change from one
            pass to the next, so that an image would not come back.
    """
    require_constriction()
    images = checked_images(images, model.image_shape, model.num_levels)
    require_integer("batch_size", batch_size, high=MAX_BATCH_SIZE)
    count = len(images)
    if names is not None and [type(name) for name in names] != [str] * count:
        raise invalid_argument("names", names, f"a list of {count} strings")
    batch_size = max(1, min(batch_size, count))
    if model.num_classes == 0:
        labels = np.zeros(count, "int32")
    else:
        if labels is None:
            labels = model.class_log_likelihoods(images, verbose=verbose).argmax(axis=1)
        labels = model._checked_labels(labels, count, lowest=0)

    levels, coder, streams = to_levels(images, model.num_levels), _coder(model, batch_size), []
    tick = _tick(model, 2 * math.ceil(count / batch_size), verbose)
    for start in range(0, count, batch_size):
        batch = slice(start, start + batch_size)
        stream = coder.encode(levels[batch], labels[batch], batch_size, tick)
        # A promise of equal floats is not enough for somebody's only copy.
        decoded, _ = coder.decode(stream, len(levels[batch]), batch_size, tick)
        if (decoded != levels[batch]).any():
            raise UserError(
                "The images can't be compressed: floats come out otherwise each time on "
                f"{device_name()}. Expected: a device whose sums have a fixed order, such as a CPU"
            )
        streams.append(stream)
    header = {
        "model": model_checksum(model),
        "backend": keras.backend.backend(),
        "written_by": _written_by(),
        "count": count,
        "batch_size": batch_size,
        "streams": [len(stream) for stream in streams],
        "names": names,
    }
    packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    checksums = np.array([zlib.crc32(image.tobytes()) for image in levels], "<u4")
    body = struct.pack("<I", len(packed)) + packed + b"".join([*streams, checksums.tobytes()])
    data = MAGIC + _digest(body) + body
    return Compressed(data, labels, sum(map(len, streams)))


def decompress_images(
    model: keras.Model, data: bytes, verbose: int | str = "auto"
) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Reads what `compress_images` wrote; see `AutoregressiveModel.decompress`.

    Args:
        model: The model that compressed, under the same backend.
        data: The content of the file.
        verbose: 0, 1 or `"auto"`.

    Returns:
        The images, uint8 `(N, height, width, channels)`; their labels, int32 `(N,)`, see
        `Compressed`; their names, or `None` if the file has none.

    Raises:
        UserError: If the images would not be those that were compressed; one line that says why.
    """
    require_constriction()
    header, body = _opened(data)
    for name, here in (("model", model_checksum(model)), ("backend", keras.backend.backend())):
        if header.get(name) != here:
            raise UserError(
                f"The images were compressed by another {name}. Expected: "
                f"{str(header.get(name))[:16]!r}. Received: {here[:16]!r}"
            )
    count, batch_size = header["count"], header["batch_size"]
    checksums = np.frombuffer(body[len(body) - 4 * count :], "<u4")
    coder, position = _coder(model, batch_size), 0
    tick = _tick(model, len(header["streams"]), verbose)
    # Batch by batch, each checked before the next: a file that lies ends here early.
    levels, labels = [np.zeros((0, *model.image_shape), "uint8")], [np.zeros(0, "int32")]
    for start, length in zip(range(0, count, batch_size), header["streams"], strict=True):
        stream, position = body[position : position + length], position + length
        size = min(batch_size, count - start)
        decoded, coded_labels = coder.decode(stream, size, batch_size, tick)
        found = [zlib.crc32(image.tobytes()) for image in decoded]
        if found != checksums[start : start + size].tolist():
            raise UserError(
                "The images come out otherwise than they went in: floats round otherwise here. "
                f"Expected: {header.get('written_by')!r:.300}. Received: {_written_by()!r}"
            )
        levels.append(decoded.copy())
        labels.append(coded_labels)
    images = to_images(np.concatenate(levels), model.num_levels)
    return images, np.concatenate(labels), header["names"]


def model_checksum(model: keras.Model) -> str:
    """SHA-256, in hexadecimal, of all that p(x | y) depends on: configuration and weights."""
    config = {"class": type(model).__name__, **model.get_config()}
    config = {name: value for name, value in config.items() if name not in NOT_OF_IMAGES}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for part in (model.network, model.distribution):
        if isinstance(part, keras.layers.Layer):
            for weight in part.weights:
                values = ops.convert_to_numpy(weight.value)
                digest.update(f"{values.shape}{values.dtype}".encode() + values.tobytes())
    return digest.hexdigest()


def _coder(model: keras.Model, batch_size: int) -> PixelCoder:
    # One for each batch size: asked for a second one, TensorFlow would compile for any, and that
    # may round otherwise.
    coders = model._compiled_functions.coders
    if batch_size not in coders:
        coders.setdefault(batch_size, PixelCoder(model))  # of two threads, the first one's
    return coders[batch_size]


def _tick(model: keras.Model, passes: int, verbose: int | str) -> Callable[[], None]:
    return progress(passes * math.prod(model.image_shape), verbose, "sub-pixel")


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:DIGEST_BYTES]


def _written_by() -> dict[str, str]:
    """What may round floats otherwise."""
    constriction = metadata.version("constriction")
    return {**versions(), "constriction": constriction, "device": device_name()}


def _opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and what follows it, if the file is whole."""
    start = len(MAGIC) + DIGEST_BYTES
    if not isinstance(data, bytes):
        raise UserError(f"Expected the bytes that `compress` returned. Received: {type(data)}")
    body = data[start:]
    if not data.startswith(MAGIC):
        raise UserError("These are no compressed images of this version of the format")
    try:
        if data[len(MAGIC) : start] != _digest(body):
            raise ValueError("checksum")
        (length,) = struct.unpack_from("<I", body)
        packed, rest = body[4 : 4 + length], body[4 + length :]
        header = json.loads(zlib.decompressobj().decompress(packed, MAX_HEADER_BYTES))
        _check(header, len(rest))
    # Anything: bad zlib, UTF-8 or JSON, other entries, brackets within brackets.
    except Exception as error:
        raise UserError("The compressed images are damaged: not what was written") from error
    return header, rest


def _check(header: dict[str, Any], size: int) -> None:
    """Raises unless what the header says of what follows it adds up."""
    count, batch_size = header["count"], header["batch_size"]
    lengths, names = header["streams"], header["names"]
    good = (
        all(type(number) is int and number >= 0 for number in (count, batch_size, *lengths))
        and 1 <= batch_size <= MAX_BATCH_SIZE
        and len(lengths) == math.ceil(count / batch_size)
        and all(length % 4 == 0 for length in lengths)
        and sum(lengths) + 4 * count == size
        and (names is None or [type(name) for name in names] == [str] * count)
    )
    if not good:
        raise ValueError("numbers that don't add up")
