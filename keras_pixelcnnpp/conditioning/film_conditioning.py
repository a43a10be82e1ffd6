"""Strategy `film`: the label scales and shifts the features inside every block."""

import keras

from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class FilmConditioning(LabelConditioning):
    """Feature-wise linear modulation: `(1 + gamma_y) * h + beta_y`, both 0 at first.

    Args:
        num_classes: Integer, number of classes.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> x, labels = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.zeros((2, 3), "int32")
    >>> FilmConditioning(num_classes=3)(x, labels).shape
    (2, 3, 4, 4, 6)

    Reference:
        Perez et al. 2018, FiLM, eq. 2, https://arxiv.org/abs/1709.07871
    """

    place = "hidden"

    def build(self, x_shape, labels_shape=None):
        self.gamma = self.add_table("gamma", (x_shape[-1],), "zeros")
        self.beta = self.add_table("beta", (x_shape[-1],), "zeros")

    def call(self, x, labels):
        return (1 + self.look_up(self.gamma, labels)) * x + self.look_up(self.beta, labels)
