"""Strategy `mixture_head`: the label has its own way from the last features to the mixture."""

import keras
from keras import ops

from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class MixtureHeadConditioning(LabelConditioning):
    """Adds `W_y f` to the mixture parameters, `f` being the last features; `W_y` is 0 at first.

    Late fusion: the network below knows nothing of the label, and its work is done once for all
    candidates.

    Args:
        num_classes: Integer, number of classes.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Mixture parameters `(batch, candidates, height, width, num_parameters)`.
        labels: Int tensor `(batch, candidates)`.
        features: Last features `(batch, candidates, height, width, channels)`.

    Example:

    >>> x, features = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.ones((2, 1, 4, 4, 8))
    >>> labels = keras.ops.zeros((2, 3), "int32")
    >>> MixtureHeadConditioning(num_classes=3)(x, labels, features=features).shape
    (2, 3, 4, 4, 6)
    """

    place = "head"

    def __init__(self, num_classes, **kwargs):
        # Mixture parameters stay in float32 under every policy.
        super().__init__(num_classes, **{**kwargs, "dtype": "float32"})

    def build(self, x_shape, labels_shape=None, features_shape=None):
        self.kernels = self.add_table("kernels", (features_shape[-1], x_shape[-1]), "zeros")

    def call(self, x, labels, features=None):
        _, candidates, height, width, channels = features.shape
        kernels = ops.take(ops.convert_to_tensor(self.kernels), labels, axis=0)
        pixels = ops.reshape(features, (-1, candidates, height * width, channels))
        change = ops.matmul(pixels, kernels)
        return x + ops.reshape(change, (-1, change.shape[1], height, width, x.shape[-1]))
