"""Measures how guidance changes the samples of a preset, with the CNN of a run on the same data.

    python benchmarks/guidance.py photographs runs/photographs
    python benchmarks/guidance.py photographs runs/photographs --split train --weights 1,3 \
        --scales 0.25,0.5,1,2 --output benchmarks/results/guidance_scale-photographs.json

Samples are compared with images of the split as in `pixelcnnpp evaluate generation`. Choices are
made on the split `train`, of which a sixth is held out for the comparison. Scales are multiples of
the learned logit scale. Times are processor times, without compilation. `--figure` plots samples of
several weights side by side.
"""

import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from common import RESULTS, Output, Split, facts, save, show

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.evaluate.classification import load_baseline
from keras_pixelcnnpp.evaluate.figures import gallery_png
from keras_pixelcnnpp.evaluate.generation import Comparison, mean_bits_per_dim
from keras_pixelcnnpp.files import write_bytes
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

SHOWN, SHOWN_WEIGHTS = 6, (0, 1, 3)  # images per class in the figure, and their weights
METRICS = ("accuracy", "accuracy_ci95", "precision", "recall", "density", "coverage")
METRICS += ("frechet_distance",)

Numbers = Annotated[str, typer.Option(help="Numbers, comma-separated.")]


def sampled(model, per_class, how):
    """Returns samples and the seconds they took, after compiling the sampler."""
    model.sample([0], **how)
    start = time.process_time()
    samples = ClassSamples.sample(model, per_class, **how)
    return samples, time.process_time() - start


def comparison(folder, split, samples, num_levels):
    """Returns a comparison with images of the split; those of `train` are held out first."""
    dataset, cnn = folder.load_data(), load_baseline(folder)
    train, real = dataset.split("train").labeled(), dataset.images(split, with_labels=True)
    if split == "train":
        train, real = train.hold_out(1 / 6, seed=0)
    train = replace(train, images=quantize(train.images, num_levels))
    return Comparison(cnn, real, train, samples)


def figure(samples):
    """Plots the first samples of each class, one block of columns per weight, as PNG data."""
    blocks, titles = [], []
    for weight in SHOWN_WEIGHTS:
        names, pixels = zip(*samples[weight].by_class(), strict=True)
        block = np.stack([images[:SHOWN] for images in pixels])
        blocks += [block, np.full_like(block[:, :1], 255)]  # a white column
        titles += [f"w = {weight}", *[""] * SHOWN]
    return gallery_png(np.concatenate(blocks[:-1], axis=1), names, titles[:-1])


def main(
    preset: str,
    run: Path,
    split: Split = "validation",
    per_class: int = 40,
    weights: Numbers = "0,1,3,5",
    scales: Numbers = "0.5",
    figure_file: Annotated[Path | None, typer.Option("--figure")] = None,
    output: Output = None,
):
    """Measure samples of a preset with several strengths of guidance."""
    kp.keep_freed_memory()
    model, compared, rows, shown = kp.AutoregressiveModel.from_preset(preset), None, [], {}
    options = {"split": split, "per_class": per_class, "weights": weights, "scales": scales}
    settings = [[float(number) for number in text.split(",")] for text in (weights, scales)]
    for weight, scale in product(*settings):
        how = {"guidance": weight, "guidance_logit_scale": scale * model.logit_scale}
        samples, seconds = sampled(model, per_class, {**how, "seed": 0, "verbose": 0})
        shown[weight] = samples
        compared = compared or comparison(RunFolder(run), split, samples, model.num_levels)
        report = compared.report(samples)
        found = report["metrics"]["all"] | report["class_consistency"]["sampled"]
        rows.append(
            {"weight": weight, "scale": scale, "seconds": seconds}
            | {"bits_per_dim": mean_bits_per_dim(model, samples)}
            | {name: found[name] for name in METRICS}
        )
        real = report["metrics"]["all"]["real_reference"] | report["class_consistency"]["real"]
        real = {name: real[name] for name in (*METRICS, "count")}
        told = {"preset": preset, "options": options, "count": len(samples), "real": real}
        told["rows"] = rows
        told["cnn_parameters"] = compared.cnn.count_params()
        save(facts() | told, output or RESULTS / f"guidance-{preset}.json")
    show(rows)
    if figure_file:
        write_bytes(figure_file, figure(shown))


if __name__ == "__main__":
    typer.run(main)
