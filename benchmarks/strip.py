"""Plots the picture at the top of the README: a row for each thing that the models do.

    python benchmarks/strip.py --data fashion_mnist --denoising runs/maps.keras [--output FILE.png]

Nothing in it is chosen by hand:

- *sample*: a sample of each class by the preset `fashion_mnist`, guidance 1, seed 0;
- *complete*: the first test image of the first classes, without its lower half, and one completion
  of each given its class, seed 0;
- *denoise*: the first test images with Gaussian noise, and a sample of p(image | noisy image) for
  each, seed 0, by the model that `maps.py denoising` trains for a few minutes;
- *infer*: the first Ising lattices of a test set with seed 1, and the posteriors of their inverse
  temperature β, exact and by a model that is trained for about a minute.
"""

from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer
from common import ROOT, Data
from conditions import GRID_SIZE, Ising, draw, normalized, trained
from maps import noisy
from matplotlib.figure import Figure

import keras_pixelcnnpp as kp

COLUMNS = 10
UNKNOWN = (120, 160, 210)


def show(axes, image):
    axes.imshow(image, "gray", vmin=0, vmax=255)


def samples(rows, model):
    """Plots a sample of each class, in one row."""
    images = model.sample(range(COLUMNS), seed=0, guidance=1)
    for axes, image in zip(rows[0], images, strict=True):
        show(axes, image)


def completions(rows, model, test):
    """Plots the upper halves of test images over their completions, in two rows."""
    labels = np.arange(COLUMNS)
    images = test.images[[np.flatnonzero(test.labels == label)[0] for label in labels]]
    half = images.shape[1] // 2
    known = np.repeat(images, 3, axis=-1)
    known[:, half:] = UNKNOWN
    for axes, image in zip(rows[0], known, strict=True):
        show(axes, image)
    for axes, image in zip(rows[1], model.complete(images, half, labels, seed=0), strict=True):
        show(axes, image)


def restorations(rows, model, test):
    """Plots noisy test images over samples given them, in two rows."""
    maps = noisy(test.images[:COLUMNS], np.random.default_rng(0))
    for axes, image in zip(rows.flat, [*maps, *model.sample(maps, seed=0)], strict=True):
        show(axes, image)


def lattice_model(problem, count, epochs):
    """Trains a model of lattices given their inverse temperature."""
    keras.utils.set_random_seed(0)
    images, values = draw(problem, count, [0, 0])
    vectors = kp.Vectors(1, low=problem.low, high=problem.high, names=[problem.name])
    options = {"filters": 24, "num_blocks": 3, "dropout_rate": 0.0, "conditioning": "bias+film"}
    shape = (problem.size, problem.size, 1)
    model = kp.GatedPixelCNN(shape, conditions=vectors, num_levels=2, **options)
    trained(model, images, values.astype("float32")[:, None], epochs, 0)
    return model


def posteriors(lattices, plots, problem, model):
    """Plots lattices, each next to the posteriors of its inverse temperature."""
    grid = np.linspace(problem.low, problem.high, GRID_SIZE)
    images, _ = draw(problem, len(lattices), 1)
    levels = kp.data.to_levels(images, problem.num_levels)
    exact = np.exp(normalized(problem.log_prob(levels, grid)))
    found = model.grid_posterior(images, grid).probabilities
    for axes, plot, image, *curves in zip(lattices, plots, images, exact, found, strict=True):
        show(axes, image)
        plot.plot(grid, curves[0], color="0.7", linewidth=7, label="exact")
        plot.plot(grid, curves[1], color="C3", linewidth=2.5, label="model")
        plot.set(ylim=(0, None), xlim=(problem.low, problem.high))


def main(
    denoising: Annotated[Path, typer.Option(help="Model that maps.py denoising has kept.")],
    data: Data = "fashion_mnist",
    count: Annotated[int, typer.Option(help="Number of training lattices.")] = 150_000,
    epochs: Annotated[int, typer.Option(help="Epochs of training on them.")] = 1,
    output: Annotated[Path, typer.Option(help="PNG file.")] = ROOT / "docs/images/strip.png",
):
    """Plot the picture at the top of the README."""
    model = kp.PixelCNNPlusPlus.from_preset("fashion_mnist")
    test = kp.data.load_dataset(data).split("test")
    problem = Ising(8)
    figure = Figure(figsize=(8, 7.7), layout="constrained")
    parts = figure.subfigures(4, height_ratios=(1.22, 2.1, 2.1, 1.6))
    sample, complete, denoise, infer = parts
    titles = {
        sample: "sample: one image of each class",
        complete: "complete: the upper halves are known",
        denoise: "denoise: a sample of p(image | noisy image)",
        infer: "infer: p(β | image) of Ising lattices",
    }
    for part, title in titles.items():
        part.suptitle(title, fontsize=16, x=0.01, ha="left")
    samples(sample.subplots(1, COLUMNS, squeeze=False), model)
    completions(complete.subplots(2, COLUMNS), model, test)
    restorations(denoise.subplots(2, COLUMNS), keras.models.load_model(denoising), test)
    lattices_and_plots = infer.subplots(1, 6, width_ratios=(1, 1.25) * 3)
    trained_model = lattice_model(problem, count, epochs)
    posteriors(lattices_and_plots[::2], lattices_and_plots[1::2], problem, trained_model)
    # In the line of the title, where no curve is.
    style = {"fontsize": 14, "frameon": False, "handlelength": 1, "borderaxespad": 0, "ncols": 2}
    lines = lattices_and_plots[1].lines
    infer.legend(handles=list(lines), loc="upper right", bbox_to_anchor=(0.99, 1), **style)
    for part in titles:
        for axes in part.axes:
            axes.set(xticks=[], yticks=[])
    for plot in lattices_and_plots[1::2]:
        plot.set_xlabel("β", fontsize=14)
    figure.savefig(output, dpi=150)
    print(f"Wrote {output}")


if __name__ == "__main__":
    typer.run(main)
