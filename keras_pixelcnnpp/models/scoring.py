"""Scores images in batches."""

import math

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import compiled, compiles_each_size, in_batches
from keras_pixelcnnpp.checks import require_integer
from keras_pixelcnnpp.data.batches import array_batches

# Of one layer, in scoring, so that a batch stays near a gigabyte: 128 images of 10 classes of the
# default network, 52 million features a layer, took 4.0 GB.
MOST_FEATURES = 12_000_000


def score(model, images, labels, batch_size, verbose, per="image"):
    """The sums of log p(x_i | x_<i, y), of arrays of images and int32 labels `(N,)` or `(N, K)`.

    They are over the pixels i of each image or of each row of it, or none, as `per` says: `"image"`
    `(N, K)`, `"row"` `(N, K, height)` or `"pixel"` `(N, K, height, width)`; float32, nats.

    The model keeps the compiled scorers. Batches are smaller, and candidates taken in parts, where
    the features would need more than a gigabyte or so.
    """
    candidates = np.shape(labels)[1:] if model.num_classes else ()
    if len(images) == 0:
        place = model.image_shape[: ("image", "row", "pixel").index(per)]
        return np.zeros((0, *(candidates or (1,)), *place), "float32")
    require_integer("batch_size", batch_size)
    height, width, _ = model.image_shape
    features = height * width * max(*model.widths, model.distribution.num_parameters)
    at_once = max(1, MOST_FEATURES // features)
    if math.prod(candidates) > at_once:
        parts = np.array_split(labels, math.ceil(candidates[0] / at_once), axis=1)
        scores = [score(model, images, part, batch_size, verbose, per) for part in parts]
        return np.concatenate(scores, axis=1)
    batch_size = min(batch_size, at_once // math.prod(candidates))
    inputs = {"image": images, "label": labels} if model.num_classes else {"image": images}
    xla = bool(model.jit_compile)
    batches = array_batches(inputs, batch_size, pad=compiles_each_size(xla))
    scorers, kind = model._runners.scorers, (per, candidates, xla)
    if kind not in scorers:
        scorer = compiled(_scorer(model, per), model.variables, *batches[0], xla=xla)
        scorers.setdefault(kind, scorer)  # of two threads, the first one's
    return in_batches(scorers[kind], batches, verbose)[: len(images)]


def _scorer(model, per):
    def log_likelihood(inputs):
        parameters, images = model(inputs, training=False), inputs["image"]
        if per == "image":
            return model.log_likelihood(parameters, images)
        pixels = model.pixel_log_likelihood(parameters, images)
        return ops.sum(pixels, axis=3) if per == "row" else pixels

    return log_likelihood


def up_to_rows(observed_rows, by_row):
    """Log-likelihoods of the first rows, `(N, K)` or `(N, M, K)`, from those `(N, K, height)`."""
    # Of many rows, in float64: the sum up to a row must not depend on those after it.
    above = np.cumsum(np.moveaxis(by_row, 1, 2), axis=1, dtype="float64")
    above = np.concatenate([np.zeros_like(above[:, :1]), above], axis=1)
    return above[:, observed_rows].astype("float32")


class MeanOverBatch(keras.losses.Loss):
    """The mean of `y_pred`, losses that are computed already, one per image.

    Under `tf.distribute` each replica has a part of the batch and the gradients of all are summed;
    what a replica's loss must be divided by for that, `keras.losses.Loss` knows, `ops.mean` not.
    Weighted losses are divided by the number of images, not by the sum of the weights.
    """

    def call(self, y_true, y_pred):
        return y_pred
