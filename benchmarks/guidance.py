"""Measures how guidance changes the samples of a preset, with a CNN on the same data.

    python benchmarks/guidance.py judge --data mnist
    python benchmarks/guidance.py measure mnist runs/mnist-judge --data mnist --per-class 500
    python benchmarks/guidance.py measure photographs runs/photographs --split train \
        --weights 1,3 --scales 0.25,0.5,1,2 \
        --output benchmarks/results/guidance_scale-photographs.json

`judge` trains a CNN on the test images, so that samples are not judged by a network that was
trained on the same images as the preset. `measure` compares samples with images of the split as
`pixelcnnpp evaluate generation` does. Choices are made on the split `train`, of which a sixth is
held out for the comparison. Scales are multiples of the learned logit scale. Times are processor
times, without compilation. `--figure` plots samples of several weights side by side.
"""

import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from common import RESULTS, Data, Output, Split, facts, pixelcnnpp, save, show, write_dataset

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data.load import load_dataset, source_of
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.evaluate.figures import gallery_png
from keras_pixelcnnpp.evaluate.generation import baseline_features, compare, mean_bits_per_dim
from keras_pixelcnnpp.evaluate.metrics.classifiers import accuracy_interval
from keras_pixelcnnpp.evaluate.metrics.images import frechet_distance
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.files import write_bytes

SHOWN, SHOWN_WEIGHTS = 6, (0, 1, 3)  # images per class in the figure, and their weights
METRICS = ("accuracy", "accuracy_ci95", "precision", "recall", "density", "coverage")
METRICS += ("frechet_distance",)

SHARES = ("precision", "recall", "coverage")  # of images, so that Wilson's interval applies
RESAMPLES = 200

Numbers = Annotated[str, typer.Option(help="Numbers, comma-separated.")]

app = typer.Typer(help="Measure samples with guidance.", no_args_is_help=True)


def sampled(model, per_class, how):
    """Returns samples and the seconds they took, after compiling the sampler."""
    model.sample([0], **how)
    start = time.process_time()
    samples = ClassSamples.sample(model, per_class, **how)
    return samples, time.process_time() - start


def real_and_training_images(dataset, split, num_levels):
    """Returns images of the split, and training images; those of `train` are held out first."""
    train, real = dataset.split("train").labeled(), dataset.images(split, with_labels=True)
    if split == "train":
        train, real = train.hold_out(1 / 6, seed=0)
    return real, replace(train, images=quantize(train.images, num_levels))


def with_intervals(numbers, cnn, real, samples):
    """Adds 95% intervals to metrics; that of the Fréchet distance is from a bootstrap."""
    real, sampled = (baseline_features(cnn, one.images) for one in (real, samples))
    rng = np.random.default_rng(0)
    distances = [
        frechet_distance(*(rng.choice(features, len(features)) for features in (real, sampled)))
        for _ in range(RESAMPLES)
    ]
    # Resampling raises the mean of the distance, but hardly changes its standard deviation.
    found = {"frechet_distance_error": 1.96 * np.std(distances, ddof=1)}
    for name in SHARES:
        count = len(sampled) if name == "precision" else len(real)
        found[f"{name}_ci95"] = accuracy_interval(numbers[name] * count, count)
    return numbers | found


def figure(samples):
    """Plots the first samples of each class, one block of columns per weight, as PNG data."""
    blocks, titles = [], []
    for weight in SHOWN_WEIGHTS:
        names, pixels = zip(*samples[weight].by_class(), strict=True)
        block = np.stack([images[:SHOWN] for images in pixels])
        blocks += [block, np.full_like(block[:, :1], 255)]  # a white column
        titles += [f"w = {weight}", *[""] * SHOWN]
    return gallery_png(np.concatenate(blocks[:-1], axis=1), names, titles[:-1])


@app.command()
def judge(data: Data, epochs: int = 10):
    """Train a CNN on the test images, in `runs/NAME-judge`."""
    dataset, source = load_dataset(data), source_of(data)
    folder = Path("runs", f"{source.name}-judge")
    write_dataset(folder / "test.npz", dataset, dataset.split("test"))
    how = {"batch_size": 64, "horizontal_flip": source.may_be_mirrored}
    how["precision"] = "mixed_bfloat16"
    data = folder / "test.npz"
    pixelcnnpp("train-baseline", data=data, run=folder, overwrite=True, epochs=epochs, **how)


@app.command()
def measure(
    preset: str,
    run: Path,
    data: Annotated[str | None, typer.Option(help="Images. Default: those of the run.")] = None,
    split: Split = "validation",
    per_class: int = 40,
    weights: Numbers = "0,1,3,5",
    scales: Numbers = "0.5",
    figure_file: Annotated[Path | None, typer.Option("--figure")] = None,
    output: Output = None,
):
    """Measure samples of a preset with several strengths of guidance, by the CNN of a run."""
    kp.keep_freed_memory()
    dataset = load_dataset(data) if data else RunFolder(run).load_data()
    cnn = load_trained_model(RunFolder(run).require_model("baseline"), BaselineCNN)
    model, rows, shown = kp.AutoregressiveModel.from_preset(preset), [], {}
    real, train = real_and_training_images(dataset, split, model.num_levels)
    options = {"data": data and source_of(data).name, "split": split, "per_class": per_class}
    options |= {"weights": weights, "scales": scales}
    settings = [[float(number) for number in text.split(",")] for text in (weights, scales)]
    for weight, scale in product(*settings):
        how = {"guidance": weight, "guidance_logit_scale": scale * model.logit_scale}
        samples, seconds = sampled(model, per_class, {**how, "seed": 0, "verbose": 0})
        shown[weight] = samples
        report = compare(cnn, real, train, samples)
        found = report["metrics"]["all"] | report["class_consistency"]["sampled"]
        rows.append(
            {"weight": weight, "scale": scale, "seconds": seconds}
            | {"bits_per_dim": mean_bits_per_dim(model, samples)}
            | with_intervals({name: found[name] for name in METRICS}, cnn, real, samples)
        )
        of_real = report["metrics"]["all"]["real_reference"] | report["class_consistency"]["real"]
        told = {"preset": preset, "run": run.name, "options": options, "count": len(samples)}
        told["real"] = {name: of_real[name] for name in (*METRICS, "count")}
        told["rows"] = rows
        told["cnn_parameters"] = cnn.count_params()
        save(facts() | told, output or RESULTS / f"guidance-{preset}.json")
    show(rows)
    if figure_file:
        write_bytes(figure_file, figure(shown))


if __name__ == "__main__":
    app()
