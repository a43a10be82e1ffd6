"""The residual unit of the baseline CNN."""

import keras
from keras import layers

from keras_pixelcnnpp.arguments import require_positive_integer, require_rate

# Keras's 0.99 takes hundreds of steps to forget the initial values: too slow for small data.
BATCH_NORM_MOMENTUM = 0.95


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class ResidualUnit(layers.Layer):
    """Pre-activation residual unit: twice batch normalization, ReLU, 3×3 convolution.

    Args:
        filters: Integer, number of output channels.
        strides: Integer; 2 halves height and width.
        dropout_rate: Float in [0, 1), dropout before the second convolution.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Float `(batch, height, width, channels)`.
        training: Boolean, for batch normalization and dropout.

    Returns:
        Float `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        He et al. 2016, Identity Mappings in Deep Residual Networks,
        https://arxiv.org/abs/1603.05027
    """

    def __init__(self, filters, strides=1, dropout_rate=0.0, **kwargs):
        super().__init__(**kwargs)
        require_positive_integer("filters", filters)
        require_positive_integer("strides", strides)
        require_rate("dropout_rate", dropout_rate)
        self.filters = filters
        self.strides = strides
        self.dropout_rate = dropout_rate
        self.norm_1 = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)
        self.conv_1 = self._conv(3, strides)
        self.norm_2 = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)
        self.dropout = layers.Dropout(dropout_rate)
        self.conv_2 = self._conv(3, 1)
        self.shortcut = None

    def _conv(self, kernel_size, strides):
        return layers.Conv2D(
            self.filters,
            kernel_size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
        )

    def build(self, input_shape):
        inner_shape = self.compute_output_shape(input_shape)
        self.norm_1.build(input_shape)
        self.conv_1.build(input_shape)
        self.norm_2.build(inner_shape)
        self.conv_2.build(inner_shape)
        if inner_shape != tuple(input_shape):
            self.shortcut = self._conv(1, self.strides)
            self.shortcut.build(input_shape)

    def call(self, x, training=False):
        h = keras.ops.relu(self.norm_1(x, training=training))
        # The shortcut starts after the activation where it is a convolution, as in the paper.
        x = x if self.shortcut is None else self.shortcut(h)
        h = keras.ops.relu(self.norm_2(self.conv_1(h), training=training))
        return x + self.conv_2(self.dropout(h, training=training))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return batch, -(-height // self.strides), -(-width // self.strides), self.filters

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "dropout_rate": self.dropout_rate,
        }
