"""Scores pictures with Keras's own batching, compiling and progress bar."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.errors import without_retracing_advice


class LogLikelihood(keras.Model):
    """Maps pictures and candidate labels to log p(x | y), for `predict`.

    A model returns the parameters of every pixel, which nobody wants to collect for a
    whole data set. This model around it returns their log-likelihood.

    Args:
        model: An `AutoregressiveModel`.
        per: What the log p(x_i | x_<i, y) of the pixels are summed over: `"picture"`, `"row"`, or
            `"pixel"`, where they are left apart.

    Call arguments:
        inputs: As for that model.

    Returns:
        Float32 tensor `(batch, K)`, `(batch, K, height)` or `(batch, K, height, width)`, nats.
    """

    def __init__(self, model, per="picture"):
        super().__init__(name="log_likelihood")
        self.model = model
        self.per = per
        self.compile(jit_compile=getattr(model, "jit_compile", "auto"))
        self.built = True

    def call(self, inputs):
        parameters, images = self.model(inputs, training=False), inputs["image"]
        if self.per == "picture":
            return self.model.log_likelihood(parameters, images)
        levels = ops.expand_dims(images, 1)
        pixels = self.model.distribution.log_prob(parameters, levels)
        return ops.sum(pixels, axis=3) if self.per == "row" else pixels

    @without_retracing_advice()
    def predict(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """As `keras.Model.predict`."""
        return super().predict(*args, **kwargs)
