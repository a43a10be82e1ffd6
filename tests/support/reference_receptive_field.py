"""Which pixels a pixel's distribution can depend on, from the shape of PixelCNN++ alone.

The network of `reference_network` with sets of pixels instead of numbers: a feature is the set of
the input pixels that reach it.
"""

import numpy as np

ABOVE, ABOVE_LEFT = (-1, 0, 1), (-1, 0)  # columns that a convolution of either stream sees


def receptive_field(height, width, num_blocks, num_resolutions):
    """Boolean array: entry `[i, j, y, x]` says whether pixel (i, j) sees pixel (y, x)."""
    pixels = np.eye(height * width, dtype=bool).reshape(height, width, height, width)
    u = _convolve(pixels, (-2, -1), ABOVE)
    ul = _convolve(pixels, (-1,), ABOVE) | _convolve(pixels, (-1, 0), (-1,))
    links = _stream(u, ABOVE, num_blocks, num_resolutions)
    return _stream(ul, ABOVE_LEFT, num_blocks, num_resolutions, links)[-1]


def _convolve(sets, rows, columns, stride=1):
    height, width = sets.shape[0] // stride, sets.shape[1] // stride
    result = np.zeros((height, width, *sets.shape[2:]), bool)
    for i, j in np.ndindex(height, width):
        for row in rows:
            for column in columns:
                y, x = i * stride + row, j * stride + column
                if 0 <= y < sets.shape[0] and 0 <= x < sets.shape[1]:
                    result[i, j] |= sets[y, x]
    return result


def _upsample(sets, columns):
    result = np.repeat(np.repeat(sets, 2, axis=0), 2, axis=1)
    if columns == ABOVE:  # three taps: odd columns also hear from the next input
        next_input = np.repeat(sets[:, 1:], 2, axis=0)
        result[:, 1:-1:2] |= next_input
    return result


def _stream(x, columns, num_blocks, num_resolutions, links=None):
    outputs = []

    def block(x, shortcut=None):
        hidden = _convolve(x, (-1, 0), columns)
        if shortcut is not None:
            hidden = hidden | shortcut
        if links is not None:
            hidden = hidden | links[len(outputs)]
        outputs.append(x | _convolve(hidden, (-1, 0), columns))
        return outputs[-1]

    shortcuts = []
    for level in range(num_resolutions):
        if level > 0:
            x = _convolve(x, (-1, 0), columns, stride=2)
        shortcuts.append([x])
        for _ in range(num_blocks):
            x = block(x)
            shortcuts[-1].append(x)
    shortcuts[-1].pop()
    for level in reversed(range(num_resolutions)):
        for _ in range(num_blocks + (level < num_resolutions - 1)):
            x = block(x, shortcuts[level].pop())
        if level > 0:
            x = _upsample(x, columns)
    return outputs
