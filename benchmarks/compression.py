"""What a preset compresses unseen pictures to, beside what its likelihood promises.

    python benchmarks/compression.py fashion_mnist --data fashion_mnist --limit 200

Needs the extra `codec`; with `pip install pillow-jxl-plugin`, JPEG XL is measured too. Encodes and
decodes as `model.compress` does, under TensorFlow or another backend, draws as many pictures for
comparison, and writes benchmarks/results/compression-NAME.json.
"""

import argparse
import importlib.util
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.backend import machine
from keras_pixelcnnpp.codec.container import compress_pictures, decompress_pictures
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.models.archive import model_from_preset
from keras_pixelcnnpp.savedmodel.compression import bytes_as, promised_bits

RESULTS = Path(__file__).parent / "results"


def timed(work):
    """What `work()` returns, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def measure(model, levels, batch_size):
    """The numbers of the file: sizes in bits per dimension, seconds of everything."""
    warm = levels[:batch_size]  # compiles what is timed
    decompress_pictures(model, compress_pictures(model, warm, batch_size=batch_size).data, 0)
    compressed, encoding = timed(
        lambda: compress_pictures(model, levels, batch_size=batch_size, verbose=0)
    )
    decompressed, decoding = timed(lambda: decompress_pictures(model, compressed.data, 0))
    if not (decompressed.images == levels).all():
        raise SystemExit("The pictures did not come back equal")
    model.sample(compressed.labels[:batch_size], seed=0, batch_size=batch_size)
    _, drawing = timed(lambda: model.sample(compressed.labels, seed=0, batch_size=batch_size))
    pixels = to_pixels(levels, model.num_levels)
    bytes_of = {
        "coded": compressed.num_coded_bytes,
        "file": len(compressed.data),
        "webp": bytes_as(pixels, "WEBP", lossless=True, quality=100, method=6),
        "png": bytes_as(pixels, "PNG", optimize=True),
    }
    if importlib.util.find_spec("pillow_jxl"):
        importlib.import_module("pillow_jxl")  # teaches Pillow the format
        bytes_of["jxl"] = bytes_as(pixels, "JXL", lossless=True, effort=9)
    promised = promised_bits(model, levels, compressed.labels)
    return {
        "count": len(levels),
        "image_shape": model.image_shape,
        "num_levels": model.num_levels,
        "batch_size": batch_size,
        "stored_as_png": compressed.num_stored,
        "bits_per_dim": {
            "promised": promised / levels.size,
            **{name: 8 * size / levels.size for name, size in bytes_of.items()},
        },
        "seconds": {"compress": encoding, "decompress": decoding, "draw": drawing},
    }


def main():
    kp.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--data", required=True, help="as of pixelcnnpp train")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="the first pictures only")
    parser.add_argument("--batch-size", type=int, default=100)
    options = parser.parse_args()
    model = model_from_preset(options.preset, load_weights=True)
    dataset = load_dataset(
        options.data, image_size=model.image_shape[:2], num_levels=model.num_levels
    )
    levels = dataset.split(options.split).images[: options.limit]
    result = {
        "preset": options.preset,
        "data": dataset.name,
        "split": options.split,
        "limit": options.limit,
        "backend": keras.backend.backend(),
        "machine": machine(),
        **measure(model, levels, options.batch_size),
    }
    file = RESULTS / f"compression-{options.preset}.json"
    write_json(file, result)
    print(result["bits_per_dim"], result["seconds"])
    print(f"Wrote {file}")


if __name__ == "__main__":
    main()
