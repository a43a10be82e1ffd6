"""Measures how small a preset compresses unseen images, compared with its likelihood.

    python benchmarks/file_sizes.py fashion_mnist --data fashion_mnist --max-examples 200

With `pip install pillow-jxl-plugin`, JPEG XL is measured too. The other formats compress all images
as one mosaic, because files of single small images consist mostly of headers. The script encodes
and decodes like `model.compress`, samples the same number of images for comparison, and writes
benchmarks/results/compression-NAME.json.
"""

import io
import math
import struct
from contextlib import suppress
from functools import partial

import numpy as np
import typer
from common import RESULTS, Data, Output, Split, facts, save, show, timed

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.codec.container import (
    DIGEST_BYTES,
    MAGIC,
    compress_images,
    decompress_images,
)
from keras_pixelcnnpp.data.images import as_image
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.presets import Preset

FORMATS = {
    "png": {"optimize": True},
    "webp": {"lossless": True, "quality": 100, "method": 6},
}
with suppress(ImportError):
    import pillow_jxl  # noqa: F401 - registers the format with Pillow

    FORMATS["jxl"] = {"lossless": True, "effort": 9}


def mosaic(images):
    """Arranges images `(N, H, W, C)` as one, about square and padded with black."""
    count, height, width, channels = images.shape
    side = math.ceil(math.sqrt(count))
    tiles = np.zeros((side * side, height, width, channels), "uint8")
    tiles[:count] = images
    tiles = tiles.reshape(side, side, height, width, channels)
    return tiles.swapaxes(1, 2).reshape(side * height, side * width, channels)


def size_as(kind, image):
    """Returns the size of a Pillow image in a lossless format, in bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), **FORMATS[kind])
    return buffer.tell()


def measure(model, images, batch_size, weights):
    """Returns the results: sizes in bits per dimension, and times in seconds.

    `weights` is the size of the model's weights in bytes.
    """
    compress = partial(compress_images, model, verbose=0, verify=False)
    decompress = partial(decompress_images, model, batch_size=batch_size, verbose=0)
    compress(images)  # compiles the functions that are timed, as does the next line
    decompress(compress(images[:batch_size]))
    data, encoding = timed(lambda: compress(images))
    (back, labels, _), decoding = timed(lambda: decompress(data))
    kept = quantize(images, model.num_levels)
    if not (back == kept).all():
        raise SystemExit("The decompressed images differ from the original images")
    model.sample(labels[:batch_size], seed=0, batch_size=batch_size)
    _, sampling = timed(lambda: model.sample(labels, seed=0, batch_size=batch_size))
    # An ideal coder of images and labels, with equally likely labels.
    nats = -model.log_prob(images, labels, verbose="auto").astype("float64").sum()
    nats += len(images) * np.log(max(model.num_classes, 1))
    # The length of the header is stored in four bytes, after the checksum.
    start = len(MAGIC) + DIGEST_BYTES + 4
    (header,) = struct.unpack("<I", data[start - 4 : start])
    sizes = {
        "promised": float(nats / np.log(2)) / 8,
        "coded": len(data) - start - header,
        "file": len(data),
    }
    image = as_image(mosaic(kept))
    others = {kind: size_as(kind, image) for kind in FORMATS}
    saved = (min(others.values()) - sizes["file"]) / len(images)
    sizes |= others
    return {
        "count": len(images),
        "image_shape": model.image_shape,
        "num_levels": model.num_levels,
        "batch_size": batch_size,
        "bits_per_dim": {name: 8 * size / images.size for name, size in sizes.items()},
        # The decoder needs the weights too; they pay off after this number of images.
        "weights_megabytes": weights / 1e6,
        "break_even_images": math.ceil(weights / saved) if saved > 0 else None,
        "seconds": {"compress": encoding, "decompress": decoding, "sample": sampling},
    }


def main(
    preset: str,
    data: Data,
    split: Split = "test",
    max_examples: int | None = None,
    batch_size: int = 100,
    output: Output = None,
):
    """Measure how small a preset compresses images."""
    kp.keep_freed_memory()
    model = kp.AutoregressiveModel.from_preset(preset)
    dataset = load_dataset(data, image_size=model.image_shape[:2])
    weights = Preset(preset).weights_path.stat().st_size
    images = dataset.images(split, with_labels=False, max_examples=max_examples).images
    result = measure(model, images, batch_size, weights)
    show([result["bits_per_dim"]])
    asked = {"preset": preset, "data": dataset.name, "split": split, "max_examples": max_examples}
    save(asked | facts() | result, output or RESULTS / f"compression-{preset}.json")


if __name__ == "__main__":
    typer.run(main)
