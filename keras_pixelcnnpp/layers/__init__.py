"""Causal building blocks: masked and shifted convolutions, gated blocks, weight normalization."""

from keras_pixelcnnpp.layers.arithmetic import concat_elu
from keras_pixelcnnpp.layers.convolutions import (
    DownRightShiftedConv2D,
    DownRightShiftedConv2DTranspose,
    DownShiftedConv2D,
    DownShiftedConv2DTranspose,
    MaskedConv2D,
    WeightNormalized,
    WeightNormalizedDense,
)
from keras_pixelcnnpp.layers.gated_residual import (
    GatedResidualBlock,
    ResidualStack,
    SharedDropout,
)
from keras_pixelcnnpp.layers.posterior import LabelPosterior

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
