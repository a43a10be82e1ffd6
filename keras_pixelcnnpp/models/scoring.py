"""Scores images with Keras's own batching, compiling and progress bar."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import verbosity
from keras_pixelcnnpp.checks import require_integer
from keras_pixelcnnpp.data.batches import ArrayBatches, feed
from keras_pixelcnnpp.errors import without_retracing_advice

# Of one layer, in scoring, so that a batch stays near a gigabyte: 128 images of 10 classes of the
# default network, 52 million features a layer, took 4.0 GB.
MOST_FEATURES = 12_000_000


def score(model, images, labels, batch_size, verbose, per="image"):
    """What `LogLikelihood` returns, of arrays of images and int32 labels `(N,)` or `(N, K)`.

    The model keeps the compiled scorers. Batches are smaller where the features would need more
    than a gigabyte or so.
    """
    candidates = np.shape(labels)[1:] if model.num_classes else ()
    if len(images) == 0:
        place = model.image_shape[: ("image", "row", "pixel").index(per)]
        return np.zeros((0, *(candidates or (1,)), *place), "float32")
    require_integer("batch_size", batch_size)
    height, width, _ = model.image_shape
    features = height * width * max(model.widths) * math.prod(candidates)
    batch_size = min(batch_size, max(1, MOST_FEATURES // features))
    # As many batches, but alike, so that there is little to fill up.
    batch_size = math.ceil(len(images) / math.ceil(len(images) / batch_size))
    inputs = {"image": images, "label": labels} if model.num_classes else {"image": images}
    batches = ArrayBatches(inputs, batch_size)
    # One for each number of candidates: TensorFlow would trace again for unknown shapes.
    scorers, kind = model._runners.scorers, (per, candidates)
    if kind not in scorers:
        scorers[kind] = LogLikelihood(model, per)
    verbose = verbosity(verbose, len(batches))
    return scorers[kind].predict(feed(batches), verbose=verbose)[: len(images)]


def up_to_rows(observed_rows, by_row):
    """Log-likelihoods of the first rows, `(N, K)` or `(N, M, K)`, from those `(N, K, height)`."""
    # Of many rows, in float64: the sum up to a row must not depend on those after it.
    above = np.cumsum(np.moveaxis(by_row, 1, 2), axis=1, dtype="float64")
    above = np.concatenate([np.zeros_like(above[:, :1]), above], axis=1)
    return above[:, observed_rows].astype("float32")


class LogLikelihood(keras.Model):
    """Maps images and candidate labels to log p(x | y), for `predict`.

    A model returns the parameters of every pixel, which nobody wants to collect for a
    whole data set. This model around it returns their log-likelihood.

    Args:
        model: An `AutoregressiveModel`, which is called with the same inputs.
        per: What the log p(x_i | x_<i, y) of the pixels are summed over: `"image"`, `"row"`, or
            `"pixel"`, where they are left apart.

    Returns:
        Float32 tensor `(batch, K)`, `(batch, K, height)` or `(batch, K, height, width)`, nats.
    """

    def __init__(self, model, per):
        super().__init__(name="log_likelihood")
        self.model = model
        self.per = per
        self.compile(jit_compile=getattr(model, "jit_compile", "auto"))
        self.built = True

    def call(self, inputs):
        parameters, images = self.model(inputs, training=False), inputs["image"]
        if self.per == "image":
            return self.model.log_likelihood(parameters, images)
        pixels = self.model.pixel_log_likelihood(parameters, images)
        return ops.sum(pixels, axis=3) if self.per == "row" else pixels

    @without_retracing_advice()
    def predict(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """As `keras.Model.predict`."""
        return super().predict(*args, **kwargs)


class MeanOverBatch(keras.losses.Loss):
    """The mean of `y_pred`, losses that are computed already, one per image.

    Under `tf.distribute` each replica has a part of the batch and the gradients of all are summed;
    what a replica's loss must be divided by for that, `keras.losses.Loss` knows, `ops.mean` not.
    Weighted losses are divided by the number of images, not by the sum of the weights.
    """

    def call(self, y_true, y_pred):
        return y_pred
