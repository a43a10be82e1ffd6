"""Strategy `one_hot`: the label as constant channels of the picture."""

import keras
from keras import ops

from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class OneHotConditioning(LabelConditioning):
    """Appends the one-hot code of the label as constant channels; "no label" is all zeros.

    Args:
        num_classes: Integer, number of classes.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> x, labels = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.zeros((2, 3), "int32")
    >>> OneHotConditioning(num_classes=3)(x, labels).shape
    (2, 3, 4, 4, 9)
    """

    place = "input"

    def call(self, x, labels):
        code = ops.one_hot(labels, self.num_classes + 1, dtype=x.dtype)
        code = code[:, :, None, None, : self.num_classes]  # "no label" is the last
        # Adding zeros of the other's shape gives both the same candidates and positions.
        return ops.concatenate(
            [x + ops.zeros_like(code[..., :1]), code + ops.zeros_like(x[..., :1])], axis=-1
        )

    def compute_output_shape(self, x_shape, labels_shape=None):
        *leading, channels = super().compute_output_shape(x_shape, labels_shape)
        return (*leading, channels + self.num_classes)
