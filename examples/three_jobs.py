"""Plots images that one model samples, classifies and completes: three_jobs.png.

    python examples/three_jobs.py [--preset fashion_mnist] [--data DATA] [--output three_jobs.png]

The script samples images of a class, without and with guidance. It classifies and scores test
images, and shows the evidence of each pixel for the class and against the most probable other one.
It completes a test image whose left third is unknown.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data import load_dataset

COLUMNS = 6


def show_image(axes, image, title="", label=""):
    axes.imshow(image, "gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(label, fontsize=9)


def show_samples(axes, model, label, seed):
    """Plots samples, half of them with guidance."""
    labels = [label] * (COLUMNS // 2)
    images = np.concatenate([model.sample(labels, seed, guidance=weight) for weight in (0, 1)])
    name = model.class_names[label]
    titles = [f"{name}, guidance {weight}" for weight in (0, 1)]
    for index, (panel, image) in enumerate(zip(axes, images, strict=True)):
        show_image(panel, image, titles[index // 3] if index % 3 == 1 else "")


def show_classes(axes, model, images, labels):
    """Plots each image next to its evidence map."""
    probabilities = model.class_probabilities(images)
    bits = model.bits_per_dim(images)
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    evidence = model.evidence_map(images, labels, others.argmax(axis=1))
    limit = np.percentile(np.abs(evidence), 99)
    for index, label in enumerate(labels):
        image_axes, evidence_axes = axes[2 * index : 2 * index + 2]
        scores = f"p = {probabilities[index, label]:.2f}, {bits[index]:.2f} bits/dim"
        show_image(image_axes, images[index], model.class_names[label], scores)
        shown = evidence_axes.imshow(evidence[index], "RdBu", vmin=-limit, vmax=limit)
        against = model.class_names[others[index].argmax()]
        evidence_axes.set_title(f"against {against}", fontsize=10)
    bar = axes[0].figure.colorbar(shown, ax=axes, extend="both", aspect=8)
    bar.set_label("nats for\nthe class")


def show_completions(axes, model, image, label, num_particles, seed):
    """Plots the known pixels of an image, and completions in all other panels."""
    _, width, channels = image.shape
    known = np.ones(image.shape[:2], bool)
    known[:, : round(width / 3)] = False
    images = np.repeat(image[None], len(axes) - 1, axis=0)
    completed = model.complete(
        images, known, label, seed, num_particles=num_particles, batch_size=512
    )
    rgb = np.broadcast_to(image, (*image.shape[:2], 3)) if channels == 1 else image
    show_image(axes[0], np.where(known[..., None], rgb, (120, 160, 210)), "known")
    for index, (panel, each) in enumerate(zip(axes[1:], completed, strict=True)):
        show_image(panel, each, "completions" if index == 2 else "")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fashion_mnist")
    parser.add_argument("--data", help="data, as in pixelcnnpp train (default: the preset's name)")
    parser.add_argument("--sampled", type=int, default=5, help="class to sample")
    parser.add_argument("--classified", type=int, nargs=3, default=(3, 8, 2), help="classes")
    parser.add_argument("--completed", type=int, default=9, help="class of the image to complete")
    parser.add_argument("--particles", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("three_jobs.png"))
    options = parser.parse_args(arguments)
    model = kp.PixelCNNPlusPlus.from_preset(options.preset)
    dataset = load_dataset(options.data or options.preset, image_size=model.image_shape[:2])
    test = dataset.images("test", with_labels=True)
    *classified, completed = (
        np.flatnonzero(test.labels == label)[0]
        for label in (*options.classified, options.completed)
    )
    figure = Figure(figsize=(9.5, 5.2), layout="constrained")
    axes = figure.subplots(3, COLUMNS)
    show_samples(axes[0], model, options.sampled, options.seed)
    show_classes(axes[1], model, test.images[classified], np.array(options.classified))
    show_completions(
        axes[2], model, test.images[completed], options.completed, options.particles, options.seed
    )
    for row, title in enumerate(("sampled", "classified", "completed")):
        axes[row, 0].set_ylabel(title)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    figure.savefig(options.output, dpi=150)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
