"""Strategy `spatial`: the label as a map of features at the lowest resolution."""

import keras
from keras import ops

from keras_pixelcnnpp.conditioning.label_conditioning import LabelConditioning


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class SpatialConditioning(LabelConditioning):
    """Adds `E_y[i, j]`, a vector for each label and position, 0 at first.

    Args:
        num_classes: Integer, number of classes.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Features `(batch, candidates, height, width, channels)`, or a piece of them.
        labels: Int tensor `(batch, candidates)`.
        position: Which piece: `None` for all, `(row, None)` for a row, `(row, column)` for a pixel.

    Example:

    >>> x, labels = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.zeros((2, 3), "int32")
    >>> SpatialConditioning(num_classes=3)(x, labels).shape
    (2, 3, 4, 4, 6)

    Reference:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, section 2.3
        (the location-dependent variant), https://arxiv.org/abs/1606.05328
    """

    place = "bottleneck"

    def build(self, x_shape, labels_shape=None):
        self.table = self.add_table("table", tuple(x_shape[-3:]), "zeros")

    def call(self, x, labels, position=None):
        table = ops.convert_to_tensor(self.table)  # (labels, height, width, channels)
        for axis, index in enumerate(position or (), start=1):
            if index is not None:
                table = ops.expand_dims(ops.take(table, index, axis=axis), axis)
        return x + ops.take(table, labels, axis=0)
