"""Compares the masked convolution with plain loops in float64, and tests its mask."""

import numpy as np
import pytest
from layer_checks import randomize, run, weights_of

from keras_pixelcnnpp.layers.convolutions import MaskedConv2D

KERNELS = [(3, 3), (7, 7), (1, 5), (5, 1), (1, 1)]


def sees(layer, offset, source, target, channels):
    """Returns whether output channel `target` may see input channel `source` at an offset."""
    if offset != (0, 0):
        return offset < (0, 0)
    source_group = source * layer.groups // channels
    target_group = target * layer.groups // layer.filters
    return source_group < target_group or (layer.mask == "B" and source_group == target_group)


def by_a_loop(layer, image, kernel_size):
    """Computes the output for one image `(height, width, channels)` by loops over sub-pixels."""
    weights = weights_of(layer)
    stored = weights["direction"]
    height, width, channels = image.shape
    above, aside = kernel_size[0] // 2, kernel_size[1] // 2
    taps = {
        (row, column, source, target): stored[row + above, column + aside, source, target]
        for row in range(-above, 1)
        for column in range(-aside, aside + 1)
        for source in range(channels)
        for target in range(layer.filters)
        if sees(layer, (row, column), source, target, channels)
    }
    output = np.zeros((height, width, layer.filters)) + weights["bias"]
    for target in range(layer.filters):
        own = {key[:3]: value for key, value in taps.items() if key[3] == target}
        length = np.sqrt(sum(value**2 for value in own.values()))
        factor = weights["gain"].ravel()[target] / length
        for i, j in np.ndindex(height, width):
            for (row, column, source), value in own.items():
                if 0 <= i + row < height and 0 <= j + column < width:
                    output[i, j, target] += factor * value * image[i + row, j + column, source]
    return output


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("mask", ["A", "B"])
@pytest.mark.parametrize(
    "kernel_size", [(3, 7), *(pytest.param(size, marks=pytest.mark.once) for size in KERNELS)]
)
def test_equals_a_loop(rng, kernel_size, mask, groups):
    if mask == "A" and kernel_size == (1, 1):
        return  # an error, see below
    layer = MaskedConv2D(6, kernel_size, mask, groups)
    x = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    run(layer, x)
    randomize(layer)
    expected = [by_a_loop(layer, image, kernel_size) for image in x]
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-5, atol=1e-5)
