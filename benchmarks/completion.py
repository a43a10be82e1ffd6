"""Completes partly known images by sequential Monte Carlo.

    python benchmarks/completion.py fashion_mnist
    python benchmarks/completion.py photographs --data images --split validation --region "a hole"
    python benchmarks/completion.py fashion_mnist --own-samples --particles 19:100 \
        --output benchmarks/results/own_samples-fashion_mnist.json

The script completes each image twice given its class. It compares log p(image | class) of completed
and true images, and the two estimates of log p(known pixels | class). Sampling with one particle
ignores the known pixels that come later. `--own-samples` takes samples of the model for the true
images: then the mean difference is 0 if completions are exact. With at least 19 particles, 19
completions of each run give intervals that contain 90% of the true pixels if they are exact.

Times are processor times. Writes `benchmarks/results/completion-PRESET.json`, or `--output`.
"""

import dataclasses
import textwrap
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from common import RESULTS, Output, facts, middle, save, show
from scipy.stats import sem
from typer import Option

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data import load_dataset
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.sampling.options import SamplingOptions
from keras_pixelcnnpp.sampling.sampler import sample_images
from keras_pixelcnnpp.utils.checks import is_prefix
from keras_pixelcnnpp.utils.files import write_bytes

BATCH_SIZE = 512  # particles; larger batches are not faster
COMPLETIONS = 19  # of a run, between which the true value lies with a probability of 18 / 20


def regions(images):
    """Returns masks of known pixels, bool `(count, height, width)`."""
    count, *shape, _ = images.shape
    height, width = shape
    row, column = np.indices(shape)
    rng = np.random.default_rng(0)
    known = {
        "a hole of 10×10": ~middle(shape, 10),
        "the left third": column >= round(width / 3),
        "the upper half": row >= height // 2,
        "all but every second row and column": (row % 2 == 0) & (column % 2 == 0),
        "80 % at random": rng.random((count, *shape)) < 0.2,
        "the lower half": row < height // 2,
    }
    return {name: np.broadcast_to(mask, (count, *shape)) for name, mask in known.items()}


def complete(model, test, known, num_particles):
    """Completes each image twice, and measures log-likelihoods, coverage and times."""
    num_samples = COMPLETIONS if num_particles >= COMPLETIONS else 1
    labels, known = np.tile(test.labels, 2), np.tile(known, (2, 1, 1))
    options = SamplingOptions(seed=num_particles, batch_size=BATCH_SIZE, verbose=0)
    arguments = options, np.tile(test.images, (2, 1, 1, 1)), known, num_particles, num_samples
    start = time.process_time()
    images, evidence = sample_images(model, labels, *arguments)
    seconds = time.process_time() - start
    images = images.reshape(len(labels), num_samples, *model.image_shape)
    chosen = np.random.default_rng(0).integers(num_samples, size=len(labels))
    one = images[np.arange(len(labels)), chosen]
    true = model.log_prob(test.images, test.labels)
    more = (model.log_prob(one, labels).reshape(2, -1) - true).mean(axis=0)
    first, second = evidence.reshape(2, -1)
    found = {
        "particles": num_particles,
        "count": len(test),
        "log_prob_true": float(true.mean()),
        "log_prob_above_true": float(more.mean()),
        "standard_error": float(sem(more)) if len(more) > 1 else None,
        "log_evidence": float(evidence.mean()) if num_particles > 1 else None,
        "spread": float(np.sqrt(np.mean((first - second) ** 2) / 2)) if num_particles > 1 else None,
        "seconds_per_image": seconds / len(labels),
    }
    if num_samples > 1:
        inside = coverage(images[: len(test)], test.images, known[: len(test)])
        found |= {"coverage": float(inside.mean()), "coverage_error": float(sem(inside))}
    return found


def coverage(completed, images, known):
    """Returns the share of unknown sub-pixels of each image in the intervals of its completions.

    An interval lies between the lowest and the highest of 19 completions `(N, 19, height, width,
    channels)`. At a boundary, the pixel is inside with the probability of a random order.
    """
    lower = np.sum(completed < images[:, None], axis=1)
    equal = np.sum(completed == images[:, None], axis=1)
    rank = lower + np.random.default_rng(0).integers(equal + 1)  # from 0 to 19
    inside = (rank > 0) & (rank < completed.shape[1])
    return np.array([one[~mask].mean() for one, mask in zip(inside, known, strict=True)])


def completions_png(model, test, completed, numbers):
    """Plots an image and its completions for each region, as PNG data."""
    _, of_class = np.unique(test.labels, return_index=True)
    completed = {name: known for name, known in completed.items() if not is_prefix(known)}
    titles = ["test image", "known", *(f"particles: {number}" for number in numbers)]
    figure = new_figure(7.5, 1.5 * len(completed))
    axes = figure.subplots(len(completed), len(titles), squeeze=False)
    options = {"seed": 0, "batch_size": BATCH_SIZE, "verbose": 0}
    indices = np.resize(of_class, len(completed))
    for row, (name, known), index in zip(axes, completed.items(), indices, strict=True):
        image, label = test.images[index], test.labels[index]
        filled_in = [
            model.complete(image[None], known[0], label, num_particles=number, **options)[0]
            for number in numbers
        ]
        rgb = np.broadcast_to(image, (*image.shape[:2], 3))
        visible = np.where(known[0][..., None], rgb, (120, 160, 210))
        for panel, shown in zip(row, (image, visible, *filled_in), strict=True):
            panel.imshow(shown, "gray", vmin=0, vmax=255)
            panel.set(xticks=[], yticks=[])
        row[0].set_ylabel(textwrap.fill(name, 14), fontsize=9)
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize=10)
    return figure_png(figure, dpi=110)


def main(
    preset: str,
    data: str | None = None,
    split: str = "test",
    region: Annotated[str | None, Option(help="Only regions whose name contains this.")] = None,
    particles: Annotated[
        str, Option(help="Numbers of particles, and of images to complete with each.")
    ] = "1:12,16:12,64:12",
    own_samples: Annotated[bool, Option(help="Complete samples of the model.")] = False,
    figure: Annotated[Path | None, Option(help="PNG file to write completions to.")] = None,
    output: Output = None,
):
    """Complete test images, or samples, with a preset."""
    numbers = dict(map(int, pair.split(":")) for pair in particles.split(","))
    kp.keep_freed_memory()
    model = kp.PixelCNNPlusPlus.from_preset(preset)
    dataset = load_dataset(data or preset, image_size=model.image_shape[:2])
    test = dataset.images(split, with_labels=True, max_examples=max(numbers.values()))
    if own_samples:
        test = dataclasses.replace(test, images=model.sample(test.labels, seed=0))
    completed = regions(test.images)
    completed = {name: known for name, known in completed.items() if (region or "") in name}
    options = {"data": data and Path(data).name, "split": split, "region": region}
    options |= {"particles": particles, "own_samples": own_samples}
    result = {"preset": preset, **facts(), "options": options, "completion": {}}
    output = output or RESULTS / f"completion-{preset}.json"
    for number, images in numbers.items():
        chosen = test.some(images)
        for name, known in completed.items():
            rows = result["completion"].setdefault(name, [])
            if rows and is_prefix(known):  # exact with any number of particles
                continue
            if name == next(iter(completed)):
                complete(model, chosen.take(slice(1)), known[:1], number)  # compiles
            rows.append(complete(model, chosen, known[:images], number))
            show([{"unknown": name, **rows[-1]}])
            save(result, output)
    if figure:
        write_bytes(figure, completions_png(model, test, completed, list(numbers)))


if __name__ == "__main__":
    typer.run(main)
