"""Files as an attacker would make them, and random damage to good ones."""

import io
import struct
import zlib

from hypothesis import strategies as st
from PIL import Image

from keras_pixelcnnpp.errors import UserError


def encoded(image, kind="PNG", **options):
    """The content of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, *chunks, data=b"\0" * 9, bits=8, color=0):
    """A PNG, gray by default, whose header promises its size, with `chunks` before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(data, 9))
    parts = [chunk(b"IHDR", header), *chunks, pixels, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(kind, data):
    """A chunk of a PNG, with its checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def jpeg_of_size(width, height):
    """A JPEG whose header promises another size than it has."""
    content = bytearray(encoded(Image.new("RGB", (8, 8), "red"), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def jpeg_of_scans(side, count):
    """A progressive JPEG of one color whose last scan is there `count` times."""
    content = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * count + content[-2:]


def result_or_one_line(function, *arguments, **options):
    """What `function` returns; `None` after a `UserError` of one line. Other errors are raised."""
    try:
        return function(*arguments, **options)
    except UserError as error:
        message = str(error)
    assert 0 < len(message) < 1000
    assert "\n" not in message
    return None


@st.composite
def damaged(draw, contents):
    """One of `contents` with some bytes replaced, cut out or put in."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.sampled_from([0, 1, 1, 2, 4, 16, 1000]))
        content[start:end] = draw(st.binary(max_size=16) | st.just(b"\xff" * 20))
    return bytes(content)
