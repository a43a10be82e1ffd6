"""Causal building blocks: masked and shifted convolutions, gated blocks, weight normalization."""

from keras_pixelcnnpp.layers.gated_residual import (
    GatedResidualBlock,
    ResidualStack,
    SharedDropout,
    concat_elu,
)
from keras_pixelcnnpp.layers.masked import MaskedConv2D
from keras_pixelcnnpp.layers.posterior import LabelPosterior
from keras_pixelcnnpp.layers.shifted import (
    DownRightShiftedConv2D,
    DownRightShiftedConv2DTranspose,
    DownShiftedConv2D,
    DownShiftedConv2DTranspose,
)
from keras_pixelcnnpp.layers.weight_normalized import WeightNormalized, WeightNormalizedDense

__all__ = [
    "DownRightShiftedConv2D",
    "DownRightShiftedConv2DTranspose",
    "DownShiftedConv2D",
    "DownShiftedConv2DTranspose",
    "GatedResidualBlock",
    "LabelPosterior",
    "MaskedConv2D",
    "ResidualStack",
    "SharedDropout",
    "WeightNormalized",
    "WeightNormalizedDense",
    "concat_elu",
]
