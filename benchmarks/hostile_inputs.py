"""Random damage to files, for `benchmarks/soak.py`: each gives data or one line."""

import io
import random
import time
import traceback
from pathlib import Path

import numpy as np
from PIL import Image


def hostile_inputs(seconds: float, folder: Path, rng: random.Random) -> dict:
    """Damages pictures, archives and configurations, and reads them."""
    import tensorflow as tf

    from keras_pixelcnnpp.data.images import read_image
    from keras_pixelcnnpp.data.load import load_dataset
    from keras_pixelcnnpp.export.decoding import decode_pictures
    from keras_pixelcnnpp.files import read_json

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None,), tf.string)])
    def decode(contents):
        return decode_pictures(contents, (8, 8, 3), 256)

    def from_file(name, read):
        def read_content(content):
            (folder / name).write_bytes(content)
            read(folder / name)

        return read_content

    pictures = _pictures()
    json = b'{"data": {"source": "digits", "image_shape": [8, 8, 1], "seed": 0}}'
    readers = {
        "read_image": (pictures, lambda content: read_image(content, (8, 8, 3))),
        "classify_bytes": (pictures, lambda content: decode(tf.constant([content]))),
        "npz": ([_npz()], from_file("data.npz", load_dataset)),
        "json": ([json], from_file("config.json", read_json)),
    }
    figures = {"inputs": dict.fromkeys(readers, 0), "slowest_seconds": 0.0, "failures": []}
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(figures["failures"]) < 10:
        name = rng.choice(list(readers))
        contents, read = readers[name]
        start = time.monotonic()
        failure = _failure(read, _damaged(rng.choice(contents), rng))
        # The first call of a graph is its preparation.
        if figures["inputs"][name]:
            duration = time.monotonic() - start
            figures["slowest_seconds"] = round(max(figures["slowest_seconds"], duration), 3)
        figures["inputs"][name] += 1
        if failure:
            figures["failures"].append(f"{name}: {failure}")
    return figures


def _failure(read, content: bytes) -> str | None:
    from keras_pixelcnnpp.errors import UserError

    try:
        read(content)
    except UserError as error:
        return f"not one line: {error}" if "\n" in str(error) else None
    except Exception:
        return f"{content!r}: {traceback.format_exc(limit=-3)}"
    return None


def _damaged(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(changed) + 1)
        length = rng.choice([1, 1, 2, 4, 100])
        kind = rng.randrange(4)
        if kind == 0:
            changed[start : start + length] = rng.randbytes(length)
        elif kind == 1:
            del changed[start : start + length]
        elif kind == 2:
            changed[start:start] = rng.randbytes(length)
        else:
            del changed[start:]
    return bytes(changed)


def _pictures() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype="uint8")
    image = Image.fromarray(pixels)
    colour = image.convert("RGB")
    forms = [(image, "PNG", {}), (colour.quantize(16), "PNG", {}), (colour, "JPEG", {})]
    forms += [(colour, "JPEG", {"progressive": True}), (colour.convert("L"), "PNG", {})]
    contents = []
    for picture, kind, options in forms:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        contents.append(buffer.getvalue())
    return contents


def _npz() -> bytes:
    buffer = io.BytesIO()
    labels = np.arange(40) % 2
    np.savez(buffer, x_train=np.zeros((40, 2, 2, 1), "uint8"), y_train=labels)
    return buffer.getvalue()
