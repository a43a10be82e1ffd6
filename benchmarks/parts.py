"""Classifies parts of images, with the PixelCNN++ and the CNN of a run and with a masked CNN.

    python benchmarks/parts.py train runs/digits
    python benchmarks/parts.py measure runs/digits

`train` trains the masked CNN in `runs/digits-masked`, with the recipe and the number of epochs of
the CNN. A random third of its images show only a random number of their first rows, and another
third one of `regions`; each epoch draws new masks.

`measure` computes the accuracy on the first rows, which is exact for PixelCNN++, and on `regions`,
by particles, on fewer images. The CNNs see the mean training image in place of unknown pixels. It
writes `benchmarks/results/parts-NAME.json`, with the paired difference to the masked CNN.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer
from common import RESULTS, Split, facts, middle, pixelcnnpp, save, write_dataset

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.evaluate.metrics.classifiers import (
    accuracy_difference_interval,
    classification_metrics,
)
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.training.run import RunFolder

MAX_ROWS = 16  # points on the curve of first rows, each of which costs a pass of the CNNs
BATCH_SIZE = 512  # particles; larger batches are not faster
NUMBERS = ("accuracy", "accuracy_ci95")

app = typer.Typer(help="Classify parts of images.", no_args_is_help=True)


def regions(count, shape, rng):
    """Returns masks of known pixels by name, bool `(count, height, width)`."""
    height, width = shape
    left = np.broadcast_to(np.arange(width) < width // 2, shape)
    size = height // 2
    known = {
        "the left half": left,
        "the right half": ~left,
        f"the middle {size}×{size}": middle(shape, size),
        "10 % at random": rng.random((count, *shape)) < 0.1,
    }
    return {name: np.broadcast_to(mask, (count, *shape)) for name, mask in known.items()}


def first_rows(numbers, shape):
    """Returns masks that show the given numbers of first rows, bool `(count, height, width)`."""
    rows = np.arange(shape[0])[:, None]
    return np.broadcast_to(rows < np.reshape(numbers, (-1, 1, 1)), (len(numbers), *shape))


def fill(images, known, mean):
    """Returns images with the mean image in place of unknown pixels."""
    return np.where(known[..., None], images, np.rint(mean).astype("uint8"))


def mask(images, mean, rng):
    count, *shape, _ = images.shape
    whole = np.ones((count, *shape), bool)
    places = np.stack(list(regions(count, shape, rng).values()))
    places = places[rng.integers(len(places), size=count), np.arange(count)]
    ways = np.stack([whole, first_rows(rng.integers(0, shape[0], count), shape), places])
    return fill(images, ways[rng.integers(len(ways), size=count), np.arange(count)], mean)


def masked_run(folder):
    return RunFolder(folder.with_name(f"{folder.name}-masked"))


def difference(labels, ours, theirs):
    """Returns the accuracy of `ours` minus that of `theirs`, with its paired interval."""
    correct = [probabilities.argmax(axis=1) == labels for probabilities in (ours, theirs)]
    value = correct[0].mean() - correct[1].mean()
    return {"value": value, "ci95": accuracy_difference_interval(*correct)}


@app.command()
def train(folder: Path):
    """Train a CNN on masked images."""
    run, masked = RunFolder(folder), masked_run(folder)
    options = run.read_config()["baseline"]["options"]
    dataset = run.load_data()
    images = dataset.images("train", with_labels=True)
    # A single long epoch repeats each image with a new mask, once for each original epoch.
    rng, epochs = np.random.default_rng(options["seed"]), options["epochs"]
    mean = images.images.mean(axis=0)
    shown = np.concatenate([mask(images.images, mean, rng) for _ in range(epochs)])
    repeated = replace(images.take(np.tile(np.arange(len(images)), epochs)), images=shown)
    data = masked.path / "data.npz"
    write_dataset(data, dataset, repeated)
    same = {name: options[name] for name in ("batch_size", "seed", "horizontal_flip")}
    pixelcnnpp("train-baseline", data=data, run=masked.path, overwrite=True, epochs=1, **same)


@app.command()
def measure(folder: Path, split: Split = "test", count: int = 100, particles: int = 8):
    """Measure the accuracy on the first rows of all images, and on regions of COUNT images."""
    kp.keep_freed_memory()
    run, masked = RunFolder(folder), masked_run(folder)
    model = load_trained_model(run.model_keras, kp.PixelCNNPlusPlus)
    files = {"cnn": run.baseline_keras, "masked_cnn": masked.baseline_keras}
    cnns = {
        name: load_trained_model(file, kp.BaselineCNN)
        for name, file in files.items()
        if file.exists()
    }
    dataset, shape = run.load_data(), model.image_shape[:2]
    mean = dataset.split("train").images.mean(axis=0)
    test = dataset.images(split, with_labels=True)
    rows = np.linspace(0, shape[0], min(shape[0], MAX_ROWS) + 1).round().astype(int)

    def of_cnns(images, known):
        filled = fill(images, known, mean)
        return {name: cnn.class_probabilities(filled) for name, cnn in cnns.items()}

    visible = first_rows(rows, shape)
    found = {"pixelcnnpp": model.class_probabilities(test.images, observed=rows).swapaxes(0, 1)}
    filled = [of_cnns(test.images, known) for known in visible]
    found |= {name: [part[name] for part in filled] for name in cnns}
    result = {"split": split, "count": len(test), "rows": rows.tolist(), **facts()}
    result["first_rows"] = {
        name: [{key: classification_metrics(test.labels, p)[key] for key in NUMBERS} for p in parts]
        for name, parts in found.items()
    }
    if "masked_cnn" in found:
        result["first_rows_difference"] = [
            difference(test.labels, *pair)
            for pair in zip(found["pixelcnnpp"], found["masked_cnn"], strict=True)
        ]
    few, result["regions"] = test.some(count), {}
    options = {"num_particles": particles, "batch_size": BATCH_SIZE, "seed": 0}
    for name, known in regions(len(few), shape, np.random.default_rng(0)).items():
        start = time.process_time()
        p = {"pixelcnnpp": model.class_probabilities(few.images, observed=known, **options)}
        seconds = time.process_time() - start
        p |= of_cnns(few.images, known)
        models = {key: classification_metrics(few.labels, each) for key, each in p.items()}
        row = {"count": len(few), "particles": particles, "models": models}
        if "masked_cnn" in p:
            row["difference"] = difference(few.labels, p["pixelcnnpp"], p["masked_cnn"])
        result["regions"][name] = row | {"seconds_per_image": seconds / len(few)}
    save(result, RESULTS / f"parts-{folder.name}.json")


if __name__ == "__main__":
    app()
