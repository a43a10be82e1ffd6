"""Compares shifted convolutions and their transposes with plain loops in float64."""

import numpy as np
import pytest
from layer_checks import randomize, run, weights_of
from reference_network import convolution, transposed_convolution

from keras_pixelcnnpp.layers.convolutions import (
    DownRightShiftedConv2D,
    DownRightShiftedConv2DTranspose,
    DownShiftedConv2D,
    DownShiftedConv2DTranspose,
)

# Class, kernel, strict, and the relative rows and columns in the receptive field of an output.
CONVOLUTIONS = [
    (DownShiftedConv2D, (2, 3), False, (-1, 0), (-1, 0, 1)),
    (DownShiftedConv2D, (2, 3), True, (-2, -1), (-1, 0, 1)),
    (DownShiftedConv2D, (1, 3), True, (-1,), (-1, 0, 1)),
    (DownShiftedConv2D, (3, 5), False, (-2, -1, 0), (-2, -1, 0, 1, 2)),
    (DownRightShiftedConv2D, (2, 2), False, (-1, 0), (-1, 0)),
    (DownRightShiftedConv2D, (2, 2), True, (-1, 0), (-2, -1)),
    (DownRightShiftedConv2D, (2, 1), True, (-1, 0), (-1,)),
    (DownRightShiftedConv2D, (3, 3), False, (-2, -1, 0), (-2, -1, 0)),
]
TRANSPOSES = [
    (DownShiftedConv2DTranspose, (-1, 0, 1)),
    (DownRightShiftedConv2DTranspose, (0, 1)),
]


def normalized(layer):
    """Returns kernel and bias; kernels are unit directions of each output channel times gains."""
    weights = weights_of(layer)
    direction = weights["direction"]
    lengths = np.sqrt(sum(tap**2 for tap in direction.reshape(-1, direction.shape[-1])))
    return direction / lengths * weights["gain"].reshape(-1), weights["bias"]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("cls", "kernel_size", "strict", "rows", "columns"), CONVOLUTIONS)
def test_convolution_equals_a_loop(rng, cls, kernel_size, strict, rows, columns, strides):
    layer = cls(5, kernel_size=kernel_size, strides=strides, strict=strict)
    x = rng.normal(size=(2, 6, 8, 3)).astype("float32")
    run(layer, x)
    randomize(layer)
    expected = [convolution(image, *normalized(layer), rows, columns, strides) for image in x]
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("cls", "columns"), TRANSPOSES)
def test_transposed_convolution_equals_a_loop(rng, cls, columns):
    layer = cls(5)
    x = rng.normal(size=(2, 3, 4, 2)).astype("float32")
    run(layer, x)
    randomize(layer)
    expected = [transposed_convolution(image, *normalized(layer), columns) for image in x]
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-5, atol=1e-5)
