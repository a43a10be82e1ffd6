"""The gated residual block of PixelCNN++."""

import keras
from keras import ops

from keras_pixelcnnpp.arguments import require_choice
from keras_pixelcnnpp.conditioning import build_conditioning
from keras_pixelcnnpp.layers.concat_elu import concat_elu
from keras_pixelcnnpp.layers.down_right_shifted_conv2d import DownRightShiftedConv2D
from keras_pixelcnnpp.layers.down_shifted_conv2d import DownShiftedConv2D
from keras_pixelcnnpp.layers.evaluation import WholeImage
from keras_pixelcnnpp.layers.shared_dropout import SharedDropout
from keras_pixelcnnpp.layers.weight_normalized_dense import WeightNormalizedDense

_CONVOLUTIONS = {"down": DownShiftedConv2D, "down_right": DownRightShiftedConv2D}


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class GatedResidualBlock(keras.layers.Layer):
    """Gated residual block with an optional shortcut, link to the other stream, and label.

        hidden = conv(concat_elu(x)) + dense(concat_elu(shortcut)) + dense(concat_elu(link))
        a, b   = split(conv(dropout(concat_elu(condition(hidden)))))
        output = x + a * sigmoid(b)

    Args:
        filters: Integer, number of channels of input and output.
        shift: `"down"` or `"down_right"`, which shifted convolution to use.
        dropout_rate: Float in [0, 1).
        conditioning: Names of the label strategies, joined by `+`; those that act in a block
            are used.
        num_classes: Integer, number of classes (0 for none).
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Features `(batch, candidates, height, width, filters)`.
        shortcut: Optional features of the same height and width, any channels.
        link: Optional projection of the other stream (the output of a `StreamLink`).
        labels: Optional int tensor `(batch, candidates)`.
        evaluation: How the convolutions see their neighbours: a whole image by default; the
            incremental sampler passes a window into its caches.
        training: Boolean, whether dropout is active.

    Returns:
        Features of the shape of `x`, with the candidates of `labels` where they enter.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> GatedResidualBlock(8)(keras.ops.ones((2, 1, 4, 4, 8))).shape
    (2, 1, 4, 4, 8)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.5; van den Oord et al. 2016, Conditional Image
        Generation with PixelCNN Decoders, eq. 4 (gate and label bias).
    """

    def __init__(
        self,
        filters,
        shift="down",
        dropout_rate=0.0,
        conditioning="none",
        num_classes=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_choice("shift", shift, tuple(_CONVOLUTIONS))
        self.filters = filters
        self.shift = shift
        self.dropout_rate = dropout_rate
        self.conditioning = conditioning
        self.num_classes = num_classes
        convolution = _CONVOLUTIONS[shift]
        dtype = self.dtype_policy

        def conditioned(place):
            return build_conditioning(conditioning, place, num_classes, dtype=dtype)

        self.input_conv = convolution(filters, name="input_conv", dtype=dtype)
        self.shortcut_dense = WeightNormalizedDense(filters, name="shortcut_dense", dtype=dtype)
        self.hidden_conditioning = conditioned("hidden")
        self.dropout = SharedDropout(dropout_rate, name="dropout", dtype=dtype)
        # Starts near the identity: a deep stack of blocks then starts as a shallow one.
        self.gate_conv = convolution(2 * filters, initial_scale=0.1, name="gate_conv", dtype=dtype)
        self.gate_conditioning = conditioned("gate")

    def build(self, x_shape, shortcut_shape=None, link_shape=None):
        def doubled(shape):
            return (*shape[:-1], 2 * shape[-1])

        self.input_conv.build(doubled(x_shape))
        if shortcut_shape is not None:
            self.shortcut_dense.build(doubled(shortcut_shape))
        else:
            # A model that holds a layer which is never built runs once uncompiled before every
            # `predict`, under JAX.
            self._tracker.untrack(self.shortcut_dense)
            self.shortcut_dense = None
        for strategy in self.hidden_conditioning:
            strategy.build(x_shape)
        self.dropout.build(doubled(x_shape))
        self.gate_conv.build(doubled(x_shape))
        for strategy in self.gate_conditioning:
            strategy.build(doubled(x_shape))

    def call(
        self, x, shortcut=None, link=None, labels=None, evaluation=WholeImage(), training=False
    ):
        hidden = evaluation.convolve(self.input_conv, concat_elu(x))
        if shortcut is not None:
            hidden = hidden + self.shortcut_dense(concat_elu(shortcut))
        if link is not None:
            hidden = hidden + link
        for strategy in self.hidden_conditioning:
            hidden = strategy(hidden, labels)
        hidden = self.dropout(concat_elu(hidden), training=training)
        gate = evaluation.convolve(self.gate_conv, hidden)
        for strategy in self.gate_conditioning:
            gate = strategy(gate, labels)
        value, gate = ops.split(gate, 2, axis=-1)
        return x + value * ops.sigmoid(gate)

    def compute_output_shape(self, x_shape, *_):
        return x_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "filters": self.filters,
                "shift": self.shift,
                "dropout_rate": self.dropout_rate,
                "conditioning": self.conditioning,
                "num_classes": self.num_classes,
            }
        )
        return config
