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


def png(width, height, data=b"\0" * 9, bits=8, color=0):
    """Returns a PNG file, gray by default, with a given size in its header."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(data, 9))
    parts = [chunk(b"IHDR", header), pixels, chunk(b"IEND", b"")]
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
