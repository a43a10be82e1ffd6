"""Causal building blocks: shifted convolutions, gated residual block, weight normalization."""

from keras_pixelcnnpp.layers.concat_elu import concat_elu
from keras_pixelcnnpp.layers.down_right_shifted_conv2d import DownRightShiftedConv2D
from keras_pixelcnnpp.layers.down_right_shifted_conv2d_transpose import (
    DownRightShiftedConv2DTranspose,
)
from keras_pixelcnnpp.layers.down_shifted_conv2d import DownShiftedConv2D
from keras_pixelcnnpp.layers.down_shifted_conv2d_transpose import DownShiftedConv2DTranspose
from keras_pixelcnnpp.layers.gated_residual_block import GatedResidualBlock
from keras_pixelcnnpp.layers.label_posterior import LabelPosterior
from keras_pixelcnnpp.layers.residual_stack import ResidualStack
from keras_pixelcnnpp.layers.shared_dropout import SharedDropout
from keras_pixelcnnpp.layers.weight_normalized import WeightNormalized
from keras_pixelcnnpp.layers.weight_normalized_dense import WeightNormalizedDense

__all__ = [
    "DownRightShiftedConv2D",
    "DownRightShiftedConv2DTranspose",
    "DownShiftedConv2D",
    "DownShiftedConv2DTranspose",
    "GatedResidualBlock",
    "LabelPosterior",
    "ResidualStack",
    "SharedDropout",
    "WeightNormalized",
    "WeightNormalizedDense",
    "concat_elu",
]
