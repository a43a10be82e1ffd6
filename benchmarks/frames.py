"""Compares a model of windows with one of whole frames, trained for equal processor time.

    common="--data photographs --preset photographs_likelihood --optimizer muon \
        --gradient-clip-norm 10 --precision mixed_bfloat16 --crop-margin 0"
    train="python benchmarks/core_hours.py train"
    $train $common --image-size 32 --random-crops --batch-size 8 --epochs 1 --run crops
    $train $common --image-size 64 --batch-size 2 --epochs 1 --run whole
    python benchmarks/frames.py crops whole --data photographs --count 100

`core_hours.py` records the processor time. Bits/dim are those of p(x | y) for frames of the split
`validation`, with several overlaps. JPEG XL needs `pip install pillow-jxl-plugin`. Writes
`benchmarks/results/frames.json`.
"""

from pathlib import Path

import numpy as np
import typer
from common import RESULTS, Data, facts, save, show
from file_sizes import mosaic, size_as
from scipy.stats import sem

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data import load_dataset
from keras_pixelcnnpp.data.images import as_image
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.files import read_json


def main(crops: Path, whole: Path, data: Data, count: int = 200):
    """Measure both models and JPEG XL on the same frames."""
    native = load_trained_model(RunFolder(whole).model_keras)
    windows = load_trained_model(RunFolder(crops).model_keras)
    dataset = load_dataset(data, image_size=native.image_shape[:2])
    frames = dataset.images("validation", with_labels=True, max_examples=count)
    size = windows.image_shape[0]
    overlaps = range(0, size, size // 4)
    models = {
        f"windows, overlap {overlap}": kp.TiledModel(windows, overlap) for overlap in overlaps
    }
    rows = []
    for name, model in {**models, "whole frames": native}.items():
        nats = -model.log_prob(frames.images, frames.labels).astype("float64")
        bits = nats / frames.images[0].size / np.log(2)
        rows.append({"model": name, "bits_per_dim": bits.mean(), "standard_error": sem(bits)})
        show(rows[-1:])
    jpeg_xl = 8 * size_as("jxl", as_image(mosaic(frames.images))) / frames.images.size
    hours = {
        name: read_json(folder / "snapshots" / "core_hours.json")["core_hours"]
        for name, folder in (("windows", crops), ("whole", whole))
    }
    content = {"sizes": [size, native.image_shape[0]], "count": len(frames), "core_hours": hours}
    save(facts() | content | {"rows": rows, "jpeg_xl": jpeg_xl}, RESULTS / "frames.json")


if __name__ == "__main__":
    typer.run(main)
