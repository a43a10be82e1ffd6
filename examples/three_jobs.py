"""What one trained model does, as a figure: three_jobs.png.

    python examples/three_jobs.py [--preset fashion_mnist] [--output docs/images/three_jobs.png]

It draws an image of each class, scores and classifies what it drew, completes the upper halves in
another way, and shows which pixels speak for the class and against the next best. The images are
the model's own, since no data is there without a download.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import keras_pixelcnnpp as kp


def draw(preset, count, seed):
    """The figure, with a column for each of the first `count` classes."""
    model = kp.PixelCNNPlusPlus.from_preset(preset)
    labels = np.arange(min(count, model.num_classes))
    drawn = model.sample(labels, seed=seed, temperature=0.9)
    height = model.image_shape[0]
    half = height // 2
    completed = model.complete(drawn, half, labels, seed=seed + 1, temperature=0.9)
    probabilities = model.class_probabilities(drawn)
    bits = model.bits_per_dim(drawn)
    others = probabilities.copy()
    others[labels, labels] = -1
    evidence = model.evidence_map(drawn, labels, others.argmax(axis=1))

    upper = drawn.copy()
    upper[:, half:] = 0
    most = np.percentile(np.abs(evidence), 99)
    figure = Figure(figsize=(1.45 * len(labels), 6.6), layout="constrained")
    axes = figure.subplots(4, len(labels), squeeze=False)
    for place, label in enumerate(labels):
        for row, images in enumerate((drawn, upper, completed)):
            axes[row, place].imshow(images[place], "gray", vmin=0, vmax=255)
        axes[0, place].set_title(model.class_names[label], fontsize=11)
        known = f"p = {probabilities[place, label]:.2f}\n{bits[place]:.2f} bits/dim"
        axes[0, place].set_xlabel(known, fontsize=10)
        arguments = {"cmap": "RdBu", "vmin": -most, "vmax": most}
        axes[3, place].imshow(evidence[place], **arguments)
    for row, title in enumerate(("drawn,\nscored", "upper\nhalf", "completed", "evidence")):
        axes[row, 0].set_ylabel(title, fontsize=11)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    return figure


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fashion_mnist")
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("three_jobs.png"))
    options = parser.parse_args(arguments)
    draw(options.preset, options.classes, options.seed).savefig(options.output, dpi=130)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
