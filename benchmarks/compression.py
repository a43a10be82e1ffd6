"""What a preset compresses unseen images to, beside what its likelihood promises.

    python benchmarks/compression.py fashion_mnist --data fashion_mnist --max-examples 200

Needs the extra `codec`; with `pip install pillow-jxl-plugin`, JPEG XL is measured too. The other
formats get all images in one mosaic, since files of single small images are mostly headers. Encodes
and decodes as `model.compress` does, samples as many images for comparison, and writes
benchmarks/results/compression-NAME.json.
"""

import importlib.util
import io
import math

import numpy as np
from common import RESULTS, argument_parser, facts, save, show, timed

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.data.images import as_image
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.levels import quantize

FORMATS = {
    "png": {"optimize": True},
    "webp": {"lossless": True, "quality": 100, "method": 6},
    "jxl": {"lossless": True, "effort": 9},
}


def mosaic_sizes(pixels):
    """Bytes of images `(N, H, W, C)` in one mosaic, by lossless format."""
    if importlib.util.find_spec("pillow_jxl"):
        importlib.import_module("pillow_jxl")  # teaches Pillow the format
        kinds = FORMATS
    else:
        kinds = ("png", "webp")
    _, height, width, channels = pixels.shape
    side = math.ceil(math.sqrt(len(pixels)))
    blank = np.zeros((side * side - len(pixels), height, width, channels), "uint8")
    tiles = np.concatenate([pixels, blank]).reshape(side, side, height, width, channels)
    mosaic = tiles.swapaxes(1, 2).reshape(side * height, side * width, channels)
    return {kind: size_as(kind, as_image(mosaic)) for kind in kinds}


def size_as(kind, image):
    """Bytes of an image of Pillow in a lossless format."""
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), **FORMATS[kind])
    return buffer.tell()


def promised_bits(model, images, labels):
    """The bits that a perfect coder would need for images and labels, any label being as likely."""
    nats = -model.log_prob(images, labels, verbose="auto").astype("float64").sum()
    return float(nats / np.log(2) + len(images) * np.log2(max(model.num_labels, 1)))


def measure(model, images, batch_size):
    """The numbers of the file: sizes in bits per dimension, seconds of everything."""

    def compress(images):
        return compress_images(model, images, batch_size=batch_size, verbose=0)

    decompress_images(model, compress(images[:batch_size]).data, 0)  # compiles what is timed
    compressed, encoding = timed(lambda: compress(images))
    (back, _, _), decoding = timed(lambda: decompress_images(model, compressed.data, 0))
    kept = quantize(images, model.num_levels)
    if not (back == kept).all():
        raise SystemExit("The images did not come back equal")
    model.sample(compressed.labels[:batch_size], seed=0, batch_size=batch_size)
    _, sampling = timed(lambda: model.sample(compressed.labels, seed=0, batch_size=batch_size))
    size_of = {
        "promised": promised_bits(model, images, compressed.labels) / 8,
        "coded": compressed.num_coded_bytes,
        "file": len(compressed.data),
        **mosaic_sizes(kept),
    }
    return {
        "count": len(images),
        "image_shape": model.image_shape,
        "num_levels": model.num_levels,
        "batch_size": batch_size,
        "bits_per_dim": {name: 8 * size / images.size for name, size in size_of.items()},
        "seconds": {"compress": encoding, "decompress": decoding, "sample": sampling},
    }


def main():
    kp.keep_freed_memory()
    parser = argument_parser(__doc__)
    parser.add_argument("preset")
    parser.add_argument("--data", required=True, help="as of pixelcnnpp train")
    parser.add_argument("--split", default="test")
    parser.add_argument("--max-examples", type=int, help="the first images only")
    parser.add_argument("--batch-size", type=int, default=100)
    options = parser.parse_args()
    model = kp.AutoregressiveModel.from_preset(options.preset)
    dataset = load_dataset(options.data, image_size=model.image_shape[:2])
    images = dataset.split(options.split).images[: options.max_examples]
    result = measure(model, images, options.batch_size)
    show([result["bits_per_dim"]])
    asked = {"preset": options.preset, "data": dataset.name}
    asked |= {"split": options.split, "max_examples": options.max_examples}
    output = options.output or RESULTS / f"compression-{options.preset}.json"
    save(asked | facts() | result, output)


if __name__ == "__main__":
    main()
