"""File format of compressed images, with a digest of the model, names, checksums and streams.

| bytes | content |
|---|---|
| 9 | `MAGIC`, whose last byte is the version of the format |
| 16 | first bytes of the SHA-256 of everything that follows |
| 4 | length of the header, little-endian |
| | header: JSON, compressed with zlib |
| | streams of the images, whose lengths are in the header |

Entries of the header are `"model"`, the digest of the model in fixed point; `"images"`, the
first bytes of the SHA-256 of all levels; `"size"`, the height and width of the images;
`"overlap"`, that of the windows of a `TiledModel`; `"lengths"`, for each image the length in
bytes of the stream of each row of blocks; `"names"`, the names of the images, or null; and
`"class_names"`, the class names of the model.
"""

import hashlib
import itertools
import json
import math
import struct
import zlib
from typing import Any

import numpy as np

from keras_pixelcnnpp.codec.blocks import rows_of_blocks
from keras_pixelcnnpp.codec.coder import ImageCoder
from keras_pixelcnnpp.codec.exact_model import ExactModel
from keras_pixelcnnpp.codec.streams import SYMBOLS_PER_BYTE
from keras_pixelcnnpp.conditions.classes import class_of
from keras_pixelcnnpp.sampling.model import PixelModel
from keras_pixelcnnpp.utils.backend import progress
from keras_pixelcnnpp.utils.checks import image_dtype, require_integer
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

MAGIC = b"\x89PXC\r\n\x1a\n\x01"
DIGEST_BYTES = 16
# Upper bound. A header usually has a few hundred bytes, and a name for each image. Python needs
# about 20 times as much memory for it.
MAX_HEADER_BYTES = 16 << 20


def compress_images(
    model: PixelModel,
    images: np.ndarray,
    condition: Any = None,
    names: list[str] | None = None,
    verbose: int | str = "auto",
    overlap: int | None = None,
    verify: bool = True,
) -> bytes:
    """Compresses images losslessly at the model's levels; see `AutoregressiveModel.compress`.

    `names` has a name for each image. `overlap` is that of the windows of a `TiledModel`, for
    frames of any size, whose labels must be given; `None` for images of the model's size.
    """
    size = model.image_shape[:2] if overlap is None else np.shape(images)[1:3]
    images = model.checked_images(images, size=size)
    blocks = rows_of_blocks(size, model.image_shape[:2], overlap or 0)
    count, coder = len(images), _coder(model)
    if names is not None and [type(name) for name in names] != [str] * count:
        raise invalid_argument("names", names, f"a list of {count} strings")
    if condition is None and model.conditions.num_classes:
        condition = model.class_log_likelihoods(images, verbose=verbose).argmax(axis=1)
    labels = class_of(model.conditions.parse(condition, count, unknown=False))
    # A length has at most 12 characters.
    if len(json.dumps(names)) + 12 * count * len(blocks) > MAX_HEADER_BYTES - 2**16:
        raise UserError(f"Expected fewer images for one file. Received: {count} images")

    levels = model.to_levels(images)
    coded = coder.encode(levels, labels, blocks, verbose)
    lengths = np.reshape([len(stream) for stream in coded], (count, len(blocks)))
    header = {
        "model": coder.exact.digest,
        "images": _digest(levels.tobytes()).hex(),
        "size": size,
        "overlap": overlap or 0,
        "lengths": lengths.tolist(),
        "names": names,
        "class_names": model.class_names,
    }
    packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    body = struct.pack("<I", len(packed)) + packed + b"".join(coded)
    data = MAGIC + _digest(body) + body
    if verify:
        _verify(model, data, verbose)
    return data


def _verify(model: PixelModel, data: bytes, verbose: int | str) -> None:
    """Raises an error unless `data` can be decompressed, to levels of the same SHA-256."""
    try:
        decompress_images(model, data, verbose=verbose, tiled=True)
    except UserError as error:
        raise ArithmeticError(
            "The compressed images could not be restored, so none are returned. Please report this "
            "as a bug, with the model"
        ) from error


def num_header_bytes(data: bytes) -> int:
    """Returns the length of the result of `compress_images` without its streams."""
    before = len(MAGIC) + DIGEST_BYTES
    (packed,) = struct.unpack_from("<I", data, before)
    return before + 4 + packed


def decompress_images(
    model: PixelModel,
    data: bytes | bytearray | memoryview,
    batch_size: int = 100,
    verbose: int | str = "auto",
    tiled: bool = False,
) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Decompresses the result of `compress_images`; see `AutoregressiveModel.decompress`.

    `batch_size` is the number of images or windows per batch. Frames of any size are accepted only
    if `tiled` is true. Returns the images; their labels, int32 `(N,)`; and their names, or `None`
    if the file has no names.
    """
    require_integer("batch_size", batch_size)
    header, body = _opened(data)
    coder = _coder(model)
    if header["model"] != coder.exact.digest:
        raise UserError(
            "The images were compressed by another model, or with other weights. Expected: "
            f"{header['model'][:16]!r}. Received: {coder.exact.digest[:16]!r}"
        )
    window, size, lengths = model.image_shape[:2], tuple(header["size"]), header["lengths"]
    if size != window and not tiled:
        raise UserError(
            f"The file has images of {size}, (height, width), which are larger than the model's, "
            f"{window}. Decompress it with TiledModel(model).decompress, or add --tiled"
        )
    # Before anything of the size of the images is created; see `streams.encode`.
    symbols = len(lengths) * math.prod(size) * model.image_shape[-1]
    if symbols > SYMBOLS_PER_BYTE * len(body):
        raise _damaged()
    blocks = rows_of_blocks(size, window, header["overlap"])
    if any(len(of_image) != len(blocks) for of_image in lengths):
        raise _damaged()
    ends = [0, *itertools.accumulate(itertools.chain(*lengths))]
    streams = [body[start:end] for start, end in itertools.pairwise(ends)]
    batch_size = max(1, min(batch_size // len(blocks), len(lengths)))
    passes = math.ceil(len(lengths) / batch_size) * (len(blocks) + len(blocks[0]) - 1)
    tick = progress(passes * math.prod(model.image_shape), verbose, "sub-pixel")
    levels = [np.zeros((0, *size, model.image_shape[-1]), image_dtype(model.num_levels))]
    labels = [np.zeros(0, "int32")]
    for start in range(0, len(streams), batch_size * len(blocks)):
        # Each batch is checked before the next one, so that a forged file fails early.
        coded = streams[start : start + batch_size * len(blocks)]
        found = coder.decode(coded, blocks, batch_size, tick)
        if found is None:
            raise _damaged()
        levels.append(found[0])
        labels.append(found[1])
    levels = np.concatenate(levels)
    if _digest(levels.tobytes()).hex() != header["images"]:
        raise _damaged()
    return model.to_images(levels), np.concatenate(labels), header["names"]


def _coder(model: PixelModel) -> ImageCoder:
    """Returns the coder for a model's current weights, which the model keeps for the next call."""
    functions = model.compiled_functions  # first, because it gives the variables their values
    exact = ExactModel(model)
    return functions.get("coder", lambda: ImageCoder(exact), exact.digest)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


def _damaged() -> UserError:
    return UserError("The compressed images are damaged: their content has changed")


def _opened(data: bytes | bytearray | memoryview) -> tuple[dict[str, Any], bytes]:
    """Returns the header and the streams, if the file is intact."""
    start = len(MAGIC) + DIGEST_BYTES
    data = bytes(data) if isinstance(data, bytearray | memoryview) else data
    if not isinstance(data, bytes):
        raise UserError(f"Expected the bytes that `compress` returned. Received: {type(data)}")
    body = data[start:]
    if not data.startswith(MAGIC):
        raise UserError("The data contain no compressed images, or another version of the format")
    try:
        if data[len(MAGIC) : start] != _digest(body):
            raise ValueError("checksum")
        (length,) = struct.unpack_from("<I", body)
        packed, rest = body[4 : 4 + length], body[4 + length :]
        header = json.loads(zlib.decompressobj().decompress(packed, MAX_HEADER_BYTES))
        _check(header, len(rest))
    # Any exception: invalid zlib, UTF-8 or JSON, missing entries, deeply nested brackets.
    except Exception as error:
        raise _damaged() from error
    return header, rest


def _check(header: dict[str, Any], size: int) -> None:
    """Raises an error if the header is invalid, or doesn't fit the length of the streams."""
    names, images = header["names"], header["lengths"]
    lengths = [length for of_image in images for length in of_image]
    good = (
        all(type(number) is int and number > 0 for number in lengths)
        and sum(lengths) == size
        and [type(header[name]) for name in ("model", "images")] == [str, str]
        and [type(number) for number in (*header["size"], header["overlap"])] == [int] * 3
        and (names is None or [type(name) for name in names] == [str] * len(images))
    )
    if not good:
        raise ValueError("invalid header")
