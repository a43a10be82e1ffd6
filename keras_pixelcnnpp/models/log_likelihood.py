"""Scores pictures with Keras's own batching, compiling and progress bar."""

import keras


class LogLikelihood(keras.Model):
    """Maps pictures and candidate labels to log p(x | y), for `predict`.

    A PixelCNN++ returns the mixture parameters of every pixel, which nobody wants to collect for a
    whole data set. This model around it returns their log-likelihood.

    Args:
        model: A `PixelCNNPlusPlus`.

    Call arguments:
        inputs: As for `PixelCNNPlusPlus`.

    Returns:
        Float32 tensor `(batch, K)`, nats.
    """

    def __init__(self, model):
        super().__init__(name="log_likelihood")
        self.model = model
        self.compile(jit_compile=getattr(model, "jit_compile", "auto"))
        self.built = True

    def call(self, inputs):
        return self.model.log_likelihood(self.model(inputs, training=False), inputs["image"])
