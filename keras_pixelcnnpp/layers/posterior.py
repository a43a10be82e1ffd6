"""Posterior of candidate labels: Bayes' rule with a learned scale and biases."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import softmax

from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import require_integer


def log_marginal(log_likelihood: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Returns log p(x), the log of the mean of p(x | y) over equally likely classes, in nats.

    `log_likelihood` is log p(x | y), `(..., num_classes)`. Arrays are summed in float64.
    """
    num_classes = log_likelihood.shape[-1]
    if isinstance(log_likelihood, np.ndarray):
        return np.logaddexp.reduce(log_likelihood.astype("float64"), axis=-1) - np.log(num_classes)
    return ops.logsumexp(log_likelihood, axis=-1) - math.log(num_classes)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class LabelPosterior(keras.layers.Layer):
    """Computes the logits of p(y | x) from log p(x | y).

        logit_y = logit_scale * log p(x | y) + class_bias_y

    A scale of 1 and biases of 0 give Bayes' rule with equally likely classes; biases are
    log-priors. A learned scale corrects overconfidence: the likelihoods of thousands of sub-pixels
    differ by many nats, which would also make the cross-entropy unstable.

    Args:
        num_classes: Integer, number of classes.
        initial_logit_scale: Float > 0, initial factor per nat.
        learn_logit_scale: Boolean, whether the scale is trainable.
        learn_class_bias: Boolean, whether the class biases are trainable.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        log_likelihood: Float tensor `(batch, K)`, nats.
        labels: Int tensor `(batch, K)`, the candidate labels, or `None` for all classes in order.

    Returns:
        Logits `(batch, K)`, float32.

    Example:

    >>> layer = LabelPosterior(num_classes=2)
    >>> layer(keras.ops.zeros((1, 2)), keras.ops.array([[0, 1]])).shape
    (1, 2)

    Reference:
        Krause et al. 2020, GeDi (a learned scale and biases for a generative classifier),
        https://arxiv.org/abs/2009.06367
    """

    def __init__(
        self,
        num_classes: int,
        initial_logit_scale: float = 1.0,
        learn_logit_scale: bool = False,
        learn_class_bias: bool = False,
        **kwargs: Any,
    ):
        # float32 under every policy, because likelihoods differ by hundreds of nats.
        super().__init__(**{**kwargs, "dtype": "float32"})
        require_integer("num_classes", num_classes)
        self.num_classes = num_classes
        self.initial_logit_scale = initial_logit_scale
        self.learn_logit_scale = learn_logit_scale
        self.learn_class_bias = learn_class_bias

    def build(self, *_: Any) -> None:
        self.log_logit_scale = self.add_weight(
            name="log_logit_scale",
            shape=(),
            initializer=keras.initializers.Constant(float(np.log(self.initial_logit_scale))),
            trainable=self.learn_logit_scale,
        )
        self.class_bias = self.add_weight(
            name="class_bias",
            shape=(self.num_classes,),
            initializer="zeros",
            trainable=self.learn_class_bias,
        )

    def call(self, log_likelihood: Tensor, labels: Tensor | None = None) -> Tensor:
        class_bias = ops.convert_to_tensor(self.class_bias)
        if labels is not None:
            class_bias = ops.take(class_bias, labels, axis=0)
        return ops.exp(self.log_logit_scale) * log_likelihood + class_bias

    def probabilities(self, log_likelihood: np.ndarray) -> np.ndarray:
        """Returns p(y | x) over all classes, float64; both are arrays `(..., num_classes)`."""
        return softmax(self.class_logits(log_likelihood), axis=-1)

    def class_logits(self, log_likelihood: np.ndarray) -> np.ndarray:
        """Returns the logits over all classes, float64; both are arrays `(..., num_classes)`."""
        # In NumPy, because JAX would compile it for each number of images, and in float64.
        logit_scale = np.exp(ops.convert_to_numpy(self.log_logit_scale).astype("float64"))
        class_bias = ops.convert_to_numpy(self.class_bias).astype("float64")
        return logit_scale * log_likelihood + class_bias
