"""Evaluates the stream `u` one row at a time."""

from keras import ops


class RowEvaluation:
    """Runs the stream `u` on one new row, the rows above coming from a cache.

    An evaluation in the sense of `keras_pixelcnnpp.layers.evaluation`: the network calls it for
    what reaches beyond the row.

    Args:
        cache: Dict of tensors from `initial_cache`, or the `cache` of the row before.
        running: Integer, how many lower resolutions run at this row.
        position: Pair, the row at the lowest resolution and `None` for all columns.
    """

    def __init__(self, cache, running, position):
        self.cache = dict(cache)
        self.running = running
        self.position = position

    @staticmethod
    def initial_cache(convolutions, upsamplings, width, batch_size):
        """The cache before the first row: zeros, as the padding of a whole image has.

        Args:
            convolutions: Pairs of a shifted convolution and its resolution.
            upsamplings: Transposed convolutions, highest resolution first.
            width: Integer, columns at the full resolution.
            batch_size: Integer or scalar tensor.
        """
        cache = {}
        for layer, level in convolutions:
            rows, _, channels, _ = layer.direction.shape
            if rows > 1:
                shape = (batch_size, 1, rows - 1, width // 2**level, channels)
                cache[layer.path] = ops.zeros(shape, layer.compute_dtype)
        for level, layer in enumerate(upsamplings):
            shape = (batch_size, 1, 1, width // 2**level, layer.filters)
            cache[f"below_{level}"] = ops.zeros(shape, layer.compute_dtype)
        return cache

    def convolve(self, layer, x):
        """Convolves the cached rows with the new one after them."""
        return layer(layer.pad_columns(self._window(layer, x)), padded=True)

    def _window(self, layer, x):
        """The cached rows and the new one after them, which the cache remembers."""
        if layer.path in self.cache:
            x = ops.concatenate([self.cache[layer.path], x], axis=-3)
            self.cache[layer.path] = x[..., 1:, :, :]
        return x

    def descend(self, level, downsampling, x, lower_levels):
        """Runs the lower resolutions every other row; each time they give two rows."""
        key = f"below_{level}"
        if level >= self.running:
            self._window(downsampling, x)
            return self.cache[key]
        rows = lower_levels(self.convolve(downsampling, x))
        self.cache[key] = rows[..., 1:, :, :]
        return rows[..., :1, :, :]
