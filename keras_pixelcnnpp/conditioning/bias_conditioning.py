"""Strategy `bias`: the label shifts both halves of every gate."""

import keras

from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class BiasConditioning(LabelConditioning):
    """Adds `V_y`, one vector for each label, to the two halves of a gate.

    Args:
        num_classes: Integer, number of classes.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> x, labels = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.zeros((2, 3), "int32")
    >>> BiasConditioning(num_classes=3)(x, labels).shape
    (2, 3, 4, 4, 6)

    Reference:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, eq. 4,
        https://arxiv.org/abs/1606.05328
    """

    place = "gate"

    def build(self, x_shape, labels_shape=None):
        self.table = self.add_table("table", (x_shape[-1],), "random_normal")

    def call(self, x, labels):
        return x + self.look_up(self.table, labels)
