"""Strategy `embedding`: the label is added once, after the stem."""

import keras

from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class EmbeddingConditioning(LabelConditioning):
    """Adds `e_y`, one vector for each label, to the features after the stem.

    Args:
        num_classes: Integer, number of classes.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> x, labels = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.zeros((2, 3), "int32")
    >>> EmbeddingConditioning(num_classes=3)(x, labels).shape
    (2, 3, 4, 4, 6)
    """

    place = "stem"

    def build(self, x_shape, labels_shape=None):
        self.table = self.add_table("table", (x_shape[-1],), "random_normal")

    def call(self, x, labels):
        return x + self.look_up(self.table, labels)
