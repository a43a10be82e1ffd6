"""What one trained model does with images that it was not trained on, as a figure: three_jobs.png.

    python examples/three_jobs.py [--preset fashion_mnist] [--data DATA] [--output three_jobs.png]

Takes the first test image of each class, scores and classifies it, completes its upper half, and
shows which pixels speak for its class and against the most probable other one.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data import load_dataset


def plot(model, images, labels, class_names, seed):
    """The figure, with a column for each image."""
    half = model.image_shape[0] // 2
    completed = model.complete(images, half, labels, seed=seed, temperature=0.9)
    probabilities = model.class_probabilities(images)
    bits = model.bits_per_dim(images)
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    evidence = model.evidence_map(images, labels, others.argmax(axis=1))

    limit = np.percentile(np.abs(evidence), 99)
    figure = Figure(figsize=(1.25 * len(labels) + 1.1, 6), layout="constrained")
    axes = figure.subplots(4, len(labels), squeeze=False)
    for column, label in enumerate(labels):
        for row, shown in enumerate((images, images, completed)):
            axes[row, column].imshow(shown[column], "gray", vmin=0, vmax=255)
        unknown = Rectangle(
            (-0.5, half - 0.5),
            model.image_shape[1],
            model.image_shape[0] - half,
            facecolor="lightgray",
            edgecolor="gray",
            hatch="///",
        )
        axes[1, column].add_patch(unknown)
        axes[0, column].set_title(class_names[label])
        scores = f"p = {probabilities[column, label]:.2f}\n{bits[column]:.2f} bits/dim"
        axes[0, column].set_xlabel(scores)
        against = class_names[others[column].argmax()]
        axes[3, column].set_xlabel(f"against\n{against}")
        shown = axes[3, column].imshow(evidence[column], "RdBu", vmin=-limit, vmax=limit)
    bar = figure.colorbar(shown, ax=axes[3], extend="both", aspect=8)
    bar.set_label("nats for\nthe class")
    for row, title in enumerate(("test image", "upper half", "completed", "evidence")):
        axes[row, 0].set_ylabel(title)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    return figure


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fashion_mnist")
    parser.add_argument("--data", help="as of pixelcnnpp train; by default, of the preset's name")
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("three_jobs.png"))
    options = parser.parse_args(arguments)
    model = kp.PixelCNNPlusPlus.from_preset(options.preset)
    dataset = load_dataset(options.data or options.preset, image_size=model.image_shape[:2])
    test = dataset.images("test", with_labels=True)
    labels = np.arange(min(options.classes, model.num_classes))
    first = [np.flatnonzero(test.labels == label)[0] for label in labels]
    figure = plot(model, test.images[first], labels, model.class_names, options.seed)
    figure.savefig(options.output, dpi=150)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
