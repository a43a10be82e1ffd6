"""Strategy `cross_attention`: each position asks the label's tokens."""

import math

import keras
from keras import ops

from keras_pixelcnnpp.arguments import require_positive_integer
from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class CrossAttentionConditioning(LabelConditioning):
    """Adds `W softmax(q K_y^T / sqrt(d)) V_y`: attention over a few tokens of the label.

    With one token the softmax would be constant, and this a bias.

    Args:
        num_classes: Integer, number of classes.
        num_tokens: Integer of at least 2, tokens for each label.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `num_tokens` is below 2.

    Example:

    >>> x, labels = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.zeros((2, 3), "int32")
    >>> CrossAttentionConditioning(num_classes=3)(x, labels).shape
    (2, 3, 4, 4, 6)

    Reference:
        Vaswani et al. 2017, Attention Is All You Need, eq. 1, https://arxiv.org/abs/1706.03762
    """

    place = "bottleneck"

    def __init__(self, num_classes, num_tokens=4, **kwargs):
        super().__init__(num_classes, **kwargs)
        require_positive_integer("num_tokens", num_tokens)
        if num_tokens < 2:
            raise ValueError(
                "Invalid value for argument `num_tokens`. Expected an integer of at least 2. "
                f"Received: num_tokens={num_tokens}"
            )
        self.num_tokens = num_tokens

    def build(self, x_shape, labels_shape=None):
        channels = x_shape[-1]
        self.query = self.add_weight(name="query", shape=(channels, channels))
        self.keys = self.add_table("keys", (self.num_tokens, channels), "random_normal")
        self.values = self.add_table("values", (self.num_tokens, channels), "random_normal")
        self.output_kernel = self.add_weight(
            name="output", shape=(channels, channels), initializer="zeros"
        )

    def call(self, x, labels, position=None):
        # Every position asks for itself, so it doesn't matter which piece of the picture this is.
        height, width, channels = x.shape[2:]
        keys = ops.take(ops.convert_to_tensor(self.keys), labels, axis=0)
        values = ops.take(ops.convert_to_tensor(self.values), labels, axis=0)
        queries = ops.reshape(ops.matmul(x, self.query), (-1, x.shape[1], height * width, channels))
        scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) / math.sqrt(channels)
        answer = ops.matmul(ops.matmul(ops.softmax(scores, axis=-1), values), self.output_kernel)
        return x + ops.reshape(answer, (-1, answer.shape[1], height, width, channels))

    def get_config(self):
        config = super().get_config()
        config.update({"num_tokens": self.num_tokens})
        return config
