"""Malicious files, random damage to valid files, and the number of examples of hypothesis."""

import io
import os
import struct
import zlib

from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from keras_pixelcnnpp.utils.errors import UserError


def examples(count):
    """Returns settings with `count` examples in `make soak`, otherwise a fifth, at most 200."""
    full = os.environ.get("PIXELCNNPP_TESTS") == "full"
    return settings(max_examples=count if full else min(200, max(10, count // 5)), deadline=None)


def encoded(image, kind="PNG", **options):
    """Encodes an image; returns the bytes of the file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, *chunks, data=b"\0" * 9, bits=8, color=0):
    """Returns a PNG file, gray by default, with a given size in its header and extra `chunks`."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(data, 9))
    parts = [chunk(b"IHDR", header), *chunks, pixels, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(kind, data):
    """Returns a PNG chunk with its checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def jpeg_of_size(width, height):
    """Returns a JPEG file with a wrong size in its header."""
    content = bytearray(encoded(Image.new("RGB", (8, 8), "red"), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def tiff(entries=(), pages=1, first=None, tile=(), data=b""):
    """Returns a TIFF file of gray 16×16 pages.

    Args:
        entries: Further entries of the directory, as triples (tag, type, value).
        pages: Number of directories, all of which have the same pixels.
        first: Offset of the first directory, in a BigTIFF file without one.
        tile: Width and height of a single tile, compressed by Deflate, with `data`.
        data: Compressed data.
    """
    if first is not None:
        return b"II+\0\x08\0\0\0" + struct.pack("<Q", first) + bytes(64)
    content = data or bytes(256)
    common = [(256, 4, 16), (257, 4, 16), (258, 3, 8), (262, 3, 1), (277, 3, 1)]
    if tile:
        common += [(259, 3, 8), (322, 4, tile[0]), (323, 4, tile[1])]
        common += [(324, 4, 8), (325, 4, len(content))]
    else:
        common += [(259, 3, 1), (273, 4, 8), (278, 4, 16), (279, 4, len(content))]
    entries = sorted([*common, *entries])
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    start, size = 8 + len(content), len(directory) + 4
    parts = [b"II*\0" + struct.pack("<I", start) + content]
    for page in range(pages):
        following = start + (page + 1) * size if page + 1 < pages else 0
        parts.append(directory + struct.pack("<I", following))
    return b"".join(parts)


def sparse(path, content, size):
    """Writes a file that begins with `content`, has `size` bytes and takes little of the disk."""
    path.write_bytes(content)
    with path.open("rb+") as file:
        file.truncate(size)
    return path


def result_or_one_line(function, *arguments, **options):
    """Calls `function`; returns its result, or `None` after a one-line `UserError`."""
    try:
        return function(*arguments, **options)
    except UserError as error:
        message = str(error)
    assert 0 < len(message) < 1000
    assert "\n" not in message
    return None


@st.composite
def damaged(draw, contents):
    """Generates one of `contents` with bytes replaced, removed or inserted."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.sampled_from([0, 1, 1, 2, 4, 16, 1000]))
        content[start:end] = draw(st.binary(max_size=16) | st.just(b"\xff" * 20))
    return bytes(content)
