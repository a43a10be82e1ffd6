"""Compares convolutions with plain loops in float64, and tests their weight normalization."""

import numpy as np
import pytest
from keras import ops
from layer_checks import randomize, run, weights_of
from reference_network import convolution, transposed_convolution

from keras_pixelcnnpp.layers.convolutions import (
    DownRightShiftedConv2D,
    DownRightShiftedConv2DTranspose,
    DownShiftedConv2D,
    DownShiftedConv2DTranspose,
    MaskedConv2D,
    WeightNormalizedDense,
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
KERNELS = [(3, 3), (7, 7), (1, 5), (5, 1), (1, 1)]


def check_loop(layer, x, loop, mask=1.0):
    """Compares a layer with random weights with `loop(image, kernel, bias)` for each image.

    Kernels are unit directions of each output channel times gains.
    """
    run(layer, x)
    weights = weights_of(randomize(layer))
    direction = weights["direction"] * mask
    kernel = direction / np.sqrt((direction**2).sum(axis=(0, 1, 2))) * weights["gain"].reshape(-1)
    expected = [loop(image, kernel, weights["bias"]) for image in x]
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("cls", "kernel_size", "strict", "rows", "columns"), CONVOLUTIONS)
def test_convolution_equals_a_loop(rng, cls, kernel_size, strict, rows, columns, strides):
    layer = cls(5, kernel_size=kernel_size, strides=strides, strict=strict)
    x = rng.normal(size=(2, 6, 8, 3)).astype("float32")
    check_loop(layer, x, lambda *given: convolution(*given, rows, columns, strides))


@pytest.mark.parametrize(("cls", "columns"), TRANSPOSES)
def test_transposed_convolution_equals_a_loop(rng, cls, columns):
    x = rng.normal(size=(2, 3, 4, 2)).astype("float32")
    check_loop(cls(5), x, lambda *given: transposed_convolution(*given, columns))


def is_seen(offset, source_group, target_group, mask):
    """Returns whether an output channel may see an input channel at an offset."""
    if offset != (0, 0):
        return offset < (0, 0)
    return source_group < target_group or (mask == "B" and source_group == target_group)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("mask", ["A", "B"])
@pytest.mark.parametrize(
    "kernel_size", [(3, 7), *(pytest.param(size, marks=pytest.mark.once) for size in KERNELS)]
)
def test_masked_convolution_equals_a_loop(rng, kernel_size, mask, groups):
    if mask == "A" and kernel_size == (1, 1):
        return  # an error, see test_as_layers
    above, aside = kernel_size[0] // 2, kernel_size[1] // 2
    rows, columns = range(-above, 1), range(-aside, aside + 1)
    seen = np.zeros((len(rows), len(columns), 3, 6))
    for r, c, source, target in np.ndindex(seen.shape):
        of_source, of_target = source * groups // 3, target * groups // 6
        seen[r, c, source, target] = is_seen((rows[r], columns[c]), of_source, of_target, mask)
    x = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    layer = MaskedConv2D(6, kernel_size, mask, groups)
    assert layer.padding() == ((above, 0), (aside, aside))
    check_loop(layer, x, lambda *given: convolution(*given, rows, columns), seen)


@pytest.mark.once
@pytest.mark.parametrize(
    ("layer", "gain"),
    [
        (DownShiftedConv2D(5, strict=True), 3),
        (MaskedConv2D(6, mask="A", groups=3), 1),
        (DownShiftedConv2D(5), 1.35),
        (DownShiftedConv2D(5, strict=True, initial_scale=0.5), 0.5),
        (MaskedConv2D(6, groups=3), 1),
        (WeightNormalizedDense(5), 1.35),
        (DownShiftedConv2DTranspose(5), 2),
        (DownRightShiftedConv2DTranspose(5, initial_scale=0.1), 0.1),
    ],
)
def test_the_norm_of_each_kernel_is_the_gain_of_its_kind(layer, gain):
    layer.build((None, 1, 6, 6, 3))
    kernel, bias = map(ops.convert_to_numpy, layer.kernel_and_bias())
    norms = np.sqrt(np.sum(kernel**2, axis=tuple(range(kernel.ndim - 1))))
    np.testing.assert_allclose(norms, gain, rtol=1e-5)
    assert not bias.any()
