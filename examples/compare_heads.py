"""Compares the output distributions: a logistic mixture, a single logistic, and a softmax.

    python examples/compare_heads.py                                   digits, 17 levels
    python examples/compare_heads.py --networks PixelCNN "Gated PixelCNN" PixelCNN++
    python examples/compare_heads.py --data FOLDER --image-size 16     photographs, 256 levels

Each model is trained on the likelihood with the same settings, and evaluated on held-out images.
PixelCNN and Gated PixelCNN get about as many weights as PixelCNN++. Prints a table and plots
bits/dim over the epochs.

van den Oord et al. 2016 used a softmax over the levels of each sub-pixel. It can have any shape,
but must learn for each level that neighboring levels such as 127 and 128 are similar. PixelCNN++
(Salimans et al. 2017) replaced it by a discretized logistic mixture.
"""

import argparse
import bisect
from itertools import product

import keras
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data import load_dataset

BATCH_SIZE = 32
HEADS = {
    "mixture": {"head": "logistic_mixture", "num_mixtures": 3},
    "single logistic": {"head": "logistic_mixture", "num_mixtures": 1},
    "softmax": {"head": "categorical"},
}
NETWORKS = {
    "PixelCNN": kp.PixelCNN,
    "Gated PixelCNN": kp.GatedPixelCNN,
    "PixelCNN++": kp.PixelCNNPlusPlus,
}
PIXELCNNPP = {"filters": (20, 40), "num_blocks": 1, "num_resolutions": 2}
PIXELCNNPP["conditioned_blocks"] = "all"  # as in the masked networks


def make(network, filters=None, **arguments):
    """Creates an untrained model; masked networks have five blocks with `filters` filters."""
    shape = PIXELCNNPP if filters is None else {"filters": filters, "num_blocks": 5}
    return NETWORKS[network](
        **shape, conditioning="bias", dropout_rate=0.3, label_loss_weight=0.0, **arguments
    )


def as_wide(network, weights, arguments):
    """Returns the smallest number of filters that gives a network at least `weights` weights."""

    def count(filters):
        return make(network, filters, **arguments).count_params()

    step = 2 * arguments["image_shape"][-1]
    candidates = range(step, 200 * step, step)
    return candidates[bisect.bisect_left(candidates, weights, key=count)]


def bits_per_dim(model, images):
    """Returns the mean of -log2 p(x | y) per sub-pixel."""
    log_prob = model.log_prob(images.images, images.labels)
    return -np.mean(log_prob) / (np.log(2) * np.prod(model.image_shape))


def train(model, images, unseen, epochs):
    """Trains on the likelihood; returns the bits/dim on unseen images after each epoch."""
    steps = epochs * -(-len(images) // BATCH_SIZE)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.003, steps)))
    history = []
    after_each = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: history.append(bits_per_dim(model, unseen))
    )
    model.fit(
        images.images,
        images.labels,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        callbacks=[after_each],
        verbose=0,
    )
    return history


def plot(histories):
    """Plots bits/dim over the epochs, for the first seed of each model."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, history in histories.items():
        axes.plot(range(1, len(history) + 1), history, ".-", label=name)
    axes.set(xlabel="epoch", ylabel="bits/dim of p(x | y), unseen images")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="data, as in pixelcnnpp train")
    parser.add_argument("--image-size", type=int, help="resize the images to this size")
    parser.add_argument("--networks", nargs="+", default=["PixelCNN++"], choices=NETWORKS)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--max-examples", type=int, help="number of training images")
    parser.add_argument("--seeds", type=int, default=1, help="number of training runs per model")
    parser.add_argument("--output", default="compare_heads.png", help="file of the figure")
    options = parser.parse_args(arguments)

    dataset = load_dataset(options.data, image_size=options.image_size)
    images = dataset.images("train", with_labels=True, max_examples=options.max_examples)
    unseen = dataset.images("validation", with_labels=True)
    form = {
        "image_shape": dataset.image_shape,
        "num_classes": dataset.num_classes,
        "num_levels": 17 if dataset.name == "digits" else 256,
    }
    table = Table("network, head", "bits/dim", "accuracy", "weights", "outputs per pixel")
    histories = {}
    for network, head in product(options.networks, HEADS):
        name = f"{network}, {head}"
        print(f"Training {options.seeds} × {name} for {options.epochs} epochs")
        arguments = {**form, **HEADS[head]}
        if network != "PixelCNN++":
            weights = make("PixelCNN++", **arguments).count_params()
            arguments["filters"] = as_wide(network, weights, arguments)
        measured = []
        for seed in range(options.seeds):
            keras.utils.set_random_seed(seed)
            model = make(network, **arguments)
            history = train(model, images, unseen, options.epochs)
            histories.setdefault(name, history)
            scores = model.class_log_likelihoods(unseen.images)
            measured.append((history[-1], np.mean(scores.argmax(axis=1) == unseen.labels)))
        (bits, accuracy), spread = np.mean(measured, axis=0), np.ptp(measured, axis=0)[0]
        numbers = (f"{model.count_params():,}", str(model.distribution.num_parameters))
        table.add_row(name, f"{bits:.3f} (spread {spread:.3f})", f"{accuracy:.1%}", *numbers)
    Console().print(table)
    plot(histories).savefig(options.output)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
