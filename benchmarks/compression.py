"""What a preset compresses unseen images to, beside what its likelihood promises.

    python benchmarks/compression.py fashion_mnist --data fashion_mnist --max-examples 200

Needs the extra `codec`; with `pip install pillow-jxl-plugin`, JPEG XL is measured too. Encodes and
decodes as `model.compress` does, samples as many images for comparison, and writes
benchmarks/results/compression-NAME.json.
"""

import importlib.util

from common import RESULTS, argument_parser, facts, save, show, timed

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.models.archive import model_from_preset
from keras_pixelcnnpp.savedmodel.compression import bytes_as, promised_bits, sizes


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
    _, drawing = timed(lambda: model.sample(compressed.labels, seed=0, batch_size=batch_size))
    promised = promised_bits(model, images, compressed.labels)
    found = [size for _, size in sizes(compressed, promised, kept)]
    size_of = dict(zip(("promised", "coded", "file", "webp", "png"), found, strict=True))
    if importlib.util.find_spec("pillow_jxl"):
        importlib.import_module("pillow_jxl")  # teaches Pillow the format
        size_of["jxl"] = bytes_as(kept, "JXL", lossless=True, effort=9)
    return {
        "count": len(images),
        "image_shape": model.image_shape,
        "num_levels": model.num_levels,
        "batch_size": batch_size,
        "bits_per_dim": {name: 8 * size / images.size for name, size in size_of.items()},
        "seconds": {"compress": encoding, "decompress": decoding, "draw": drawing},
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
    model = model_from_preset(options.preset, load_weights=True)
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
