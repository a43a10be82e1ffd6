"""Compares ways to train on images with missing pixels with the exact likelihood.

    python benchmarks/missing.py --output benchmarks/results/missing.json

The images are Ising lattices of 8×8 sites with an inverse temperature of 0.4, in which 5% of the
sites, chosen at random, are missing. Each way trains the same unconditional model.
"""

from typing import Annotated

import keras
import numpy as np
import typer
from common import Output, facts, save, timed
from conditions import Ising
from scipy.ndimage import uniform_filter

import keras_pixelcnnpp as kp

BETA, MISSING = 0.4, 0.05


class Imputation(keras.callbacks.Callback):
    """Samples the missing pixels again before each epoch but the first."""

    def __init__(self, images: np.ndarray, known: np.ndarray):
        super().__init__()
        self.images, self.known = images, known

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch:
            how = {"seed": epoch, "num_particles": 8, "batch_size": 2000, "verbose": 0}
            self.images[:] = self.model.complete(self.images, self.known, **how)


def neighbors(images, known):
    """Returns images whose missing pixels are the mean of the known ones around them."""
    weights = uniform_filter(known * 1.0, (0, 3, 3), mode="constant")
    sums = uniform_filter(images[..., 0] * known * 1.0, (0, 3, 3), mode="constant")
    means = np.where(sums / np.maximum(weights, 1e-9) > 127, 255, 0)
    return np.where(known[..., None], images, means[..., None]).astype("uint8")


def divergence(images, known, epochs, problem, test):
    """Trains a model; returns KL(exact ∥ model) for an image, and its standard error, in nats."""
    keras.utils.set_random_seed(0)
    shape = (problem.size, problem.size, 1)
    options = {"filters": 16, "num_blocks": 2, "dropout_rate": 0.0}
    model = kp.GatedPixelCNN(shape, num_classes=0, num_levels=2, **options)
    batches = kp.data.ImageBatches(images, np.full(len(images), -1), batch_size=100)
    steps = keras.optimizers.schedules.CosineDecay(4e-3, epochs * len(batches))
    model.compile(keras.optimizers.Adam(steps, global_clipnorm=10))
    callbacks = [kp.data.SetEpoch(batches)] + ([] if known is None else [Imputation(images, known)])
    model.fit(batches, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=2)
    exact = problem.log_prob(kp.data.to_levels(test, 2), [BETA])[:, 0]
    each = exact - model.log_prob(test, batch_size=200, verbose=0).astype("float64")
    return each.mean(), each.std(ddof=1) / len(each) ** 0.5


def main(
    count: Annotated[int, typer.Option(help="Number of training images.")] = 10_000,
    epochs: Annotated[int, typer.Option(help="Number of epochs.")] = 6,
    output: Output = None,
):
    """Train on complete images, and on images whose missing pixels are filled in several ways."""
    problem, rng = Ising(8), np.random.default_rng(0)

    def draw(number):
        return kp.data.to_images(problem.sample(np.full(number, BETA), rng), 2)

    images, test = draw(count), draw(4000)
    known = rng.random(images.shape[:3]) > MISSING
    black, filled = np.where(known[..., None], images, np.uint8(0)), neighbors(images, known)
    ways = {
        "no pixel is missing": (images, None),
        "missing pixels are 0": (black, None),
        "the mean of their known neighbors": (filled, None),
        "the same, then sampled before each epoch": (filled.copy(), known),
    }
    rows = []
    for way, given in ways.items():
        (kl, error), seconds = timed(lambda given=given: divergence(*given, epochs, problem, test))
        rows.append({"way": way, "kl": kl, "standard_error": error, "seconds": seconds})
        print(rows[-1])
    save({"count": count, "epochs": epochs, "rows": rows, **facts()}, output)


if __name__ == "__main__":
    typer.run(main)
