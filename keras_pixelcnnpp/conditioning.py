"""What all fusion strategies share: the place where they act, and tables over labels."""

import keras
from keras import ops

from keras_pixelcnnpp.arguments import require_positive_integer


class LabelConditioning(keras.layers.Layer):
    """Base of the fusion strategies: a layer that changes features by a label.

    A strategy acts at one `place` of the network:

    | place | what it changes |
    |---|---|
    | `input` | the scaled picture, before the first convolution |
    | `stem` | the features after the first convolutions |
    | `hidden` | the features inside a block, between its two convolutions |
    | `gate` | the two halves of a block's gate, before the sigmoid |
    | `bottleneck` | the features at the lowest resolution |
    | `head` | the mixture parameters, from the last features |

    Labels run from 0 to `num_classes - 1`; the label `num_classes` means "no label" and has
    parameters of its own.

    Args:
        num_classes: Integer, number of classes.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Features `(batch, candidates, height, width, channels)`, `candidates` being 1 as long
            as no label has entered.
        labels: Int tensor `(batch, candidates)`.

    Returns:
        Features with the candidates of `labels`.
    """

    place = None

    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        require_positive_integer("num_classes", num_classes)
        self.num_classes = num_classes

    def add_table(self, name, shape, initializer):
        """Creates a weight with one entry of `shape` for each label and for "no label"."""
        return self.add_weight(
            name=name, shape=(self.num_classes + 1, *shape), initializer=initializer
        )

    def look_up(self, table, labels):
        """Returns the entries of `labels`, with axes for height and width before the last."""
        entries = ops.take(ops.convert_to_tensor(table), labels, axis=0)
        return ops.expand_dims(entries, (2, 3))

    def compute_output_shape(self, x_shape, labels_shape=None):
        if labels_shape is None:
            return x_shape
        return (x_shape[0], labels_shape[1], *x_shape[2:])

    def get_config(self):
        config = super().get_config()
        config.update({"num_classes": self.num_classes})
        return config
