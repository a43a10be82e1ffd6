"""Compares the conditioning strategies of PixelCNN++ on one data set.

    python examples/compare_conditioning.py                                   digits
    python examples/compare_conditioning.py --data FOLDER --image-size 16     images of your own

For each strategy and each seed, a small model is trained on the likelihood, with the same settings
and with all blocks conditioned. It is evaluated on held-out images by the bits/dim of p(x) and by
the accuracy of Bayes' rule over p(x | y). Prints a table and plots a figure.
"""

import argparse

import keras
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data import load_dataset
from keras_pixelcnnpp.layers.conditioning import STRATEGIES

BATCH_SIZE = 32


def train(strategy, dataset, epochs, seed):
    """Trains a model on the likelihood alone."""
    keras.utils.set_random_seed(seed)
    model = kp.PixelCNNPlusPlus(
        dataset.image_shape,
        dataset.num_classes,
        num_levels=17 if dataset.name == "digits" else 256,
        filters=(20, 40),
        num_blocks=1,
        num_resolutions=2,
        num_mixtures=3,
        dropout_rate=0.3,
        conditioning=strategy,
        conditioned_blocks="all",
        label_loss_weight=0.0,
    )
    images = dataset.images("train", with_labels=True)
    steps = epochs * -(-len(images) // BATCH_SIZE)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.003, steps)))
    model.fit(images.images, images.labels, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    return model


def measure(model, images):
    """Returns the mean bits/dim and the accuracy."""
    predicted = model.predict(images.images, verbose=0).argmax(axis=1)
    return model.bits_per_dim(images.images).mean(), np.mean(predicted == images.labels)


def plot(measured):
    """Plots accuracy and bits/dim of each strategy, with one dot per seed."""
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(measured)), layout="constrained")
    bits, accuracy = figure.subplots(1, 2, sharey=True)
    for place, of_seeds in enumerate(measured.values()):
        for axes, values in ((bits, of_seeds[:, 0]), (accuracy, 100 * of_seeds[:, 1])):
            axes.plot(values, np.full(len(values), place), "o", color="C0", alpha=0.7)
    bits.set(xlabel="bits/dim of p(x)", yticks=range(len(measured)), yticklabels=measured)
    bits.invert_yaxis()
    accuracy.set(xlabel="accuracy (%)")
    for axes in (bits, accuracy):
        axes.grid(alpha=0.3)
    return figure


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="data, as in pixelcnnpp train")
    parser.add_argument("--image-size", type=int, help="resize the images to this size")
    parser.add_argument("--split", default="validation", help="split to evaluate on")
    parser.add_argument("--strategy", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=1, help="number of models per strategy")
    parser.add_argument("--output", default="compare_conditioning.png", help="file of the figure")
    options = parser.parse_args(arguments)

    dataset = load_dataset(options.data, image_size=options.image_size)
    unseen = dataset.images(options.split, with_labels=True)
    table = Table("conditioning", "weights", "bits/dim", "accuracy")
    measured = {}
    for strategy in options.strategy:
        print(f"Training {options.seeds} × {strategy} for {options.epochs} epochs")
        models = [train(strategy, dataset, options.epochs, seed) for seed in range(options.seeds)]
        measured[strategy] = np.array([measure(model, unseen) for model in models])
        bits, accuracy = measured[strategy].mean(axis=0)
        weights = models[0].count_params()
        table.add_row(strategy, f"{weights:,}", f"{bits:.3f}", f"{accuracy:.1%}")
    Console().print(table)
    plot(measured).savefig(options.output)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
