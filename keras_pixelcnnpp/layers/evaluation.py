"""How a network is evaluated: on a whole image, or piece by piece (see `sampling/`)."""

from keras import ops

from keras_pixelcnnpp.backend import read, read_at, write


class WholeImage:
    """Evaluates a network on a whole image: every layer pads its own input.

    The network calls its convolutions and its lower resolutions through an evaluation, so that
    the incremental sampler can run the very same network on one row or one pixel at a time.
    """

    position = None  # row and column at the lowest resolution, where a piece is evaluated

    def convolve(self, layer, x):
        """Applies a shifted or masked convolution to `x`."""
        return layer(x)

    def descend(self, level, downsampling, x, lower_levels):
        """Goes down from resolution `level`, evaluates what lies below, and comes back up."""
        return lower_levels(self.convolve(downsampling, x))

    def link(self, features):
        """Returns the features of the other stream that belong to what is being evaluated."""
        return features


class RowEvaluation:
    """Runs the stream `u` on one new row, the rows above coming from a cache.

    The network calls it for what reaches beyond the row. `running` is how many lower resolutions
    run at this row.
    """

    def __init__(self, cache, running, position):
        self.cache = dict(cache)
        self.running = running
        self.position = position

    @staticmethod
    def initial_cache(convolutions, upsamplings, width, batch_size):
        """The cache before the first row: zeros, as the padding of a whole image has.

        `convolutions` and `upsamplings` are those of an `AutoregressiveNetwork`.
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
            rows = ops.concatenate([self.cache[layer.path], x], axis=-3)
            one_is_kept = self.cache[layer.path].shape[-3] == 1
            self.cache[layer.path] = x if one_is_kept else rows[..., 1:, :, :]
            return rows
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


class PixelEvaluation:
    """Runs the stream `ul` on one new pixel, its neighbors coming from a cache.

    The cache, changed in place step by step, holds for each shifted convolution a row of its inputs
    `(columns, batch, channels)`. Left of the current column these are inputs of this row, from it
    on those of the row above: each is read once, one step before it is overwritten. The inputs to
    the left and above to the left are kept beside it. A masked convolution reaches to the right
    above: its cache holds the rows above `(rows, columns, batch, channels)`, padded, and the row
    that is being written beside them.
    """

    def __init__(self, cache, running_rows):
        self.cache = dict(cache)
        self.running_rows = running_rows
        self._right = {}  # up-sampled features that belong to the next column
        self.width = None

    @staticmethod
    def initial_cache(convolutions, upsamplings, width, batch_size):
        """The cache before the first row."""
        cache = {}
        for layer, level in convolutions:
            channels = layer.direction.shape[2]
            shape = (width // 2**level, batch_size, channels)
            if _reaches_right(layer):
                rows, columns = layer.kernel_size
                shape = (rows - 1, width + columns - 1, batch_size, channels)
            cache[layer.path] = ops.zeros(shape, layer.compute_dtype)
        for level, layer in enumerate(upsamplings):
            shape = (width // 2**level, batch_size, layer.filters)
            cache[f"below_{level}"] = ops.zeros(shape, layer.compute_dtype)
        return cache

    def start_row(self, convolutions):
        """Puts zeros to the left of the first column."""
        zeros = {}  # by width and dtype: each would be five operations to TensorFlow
        for layer, _ in convolutions:
            if _reaches_right(layer):
                row_shape = ops.shape(self.cache[layer.path])[1:]
                self.cache[f"{layer.path}/row"] = ops.zeros(row_shape, layer.compute_dtype)
            elif layer.kernel_size[1] > 1:
                here = self.cache[layer.path]
                kind = (here.shape[-1], layer.compute_dtype)
                if kind not in zeros:
                    zeros[kind] = ops.zeros_like(here[0])
                self.cache[f"{layer.path}/left"] = zeros[kind]
                self.cache[f"{layer.path}/above_left"] = zeros[kind]

    def end_row(self):
        """Returns the cache for the row below."""
        ends = ("/left", "/above_left", "/row")
        cache = {key: value for key, value in self.cache.items() if not key.endswith(ends)}
        for key in cache:
            if f"{key}/row" in self.cache:
                row = self.cache[f"{key}/row"][None]
                cache[key] = ops.concatenate([cache[key], row], axis=0)[1:]
        return cache

    def at(self, column, running_columns, position):
        """Moves to a column: `column` gives the (possibly traced) one at a resolution."""
        self._column = column
        self._running = min(self.running_rows, running_columns)
        self.position = position

    def convolve(self, layer, x):
        """Convolves the window that ends at the new pixel."""
        return layer(self._window(layer, x), padded=True)

    def _window(self, layer, x):
        """The cached neighbors and the new pixel, which the cache remembers, as `(batch, n)`."""
        if _reaches_right(layer):
            return self._masked_window(layer, x)
        column = self._column(self._level_of(self.cache[layer.path]))
        here = ops.reshape(x, (-1, x.shape[-1]))
        above = read(self.cache[layer.path], column)
        window = [above, here]
        if layer.kernel_size[1] > 1:
            left, above_left = f"{layer.path}/left", f"{layer.path}/above_left"
            window = [self.cache[above_left], above, self.cache[left], here]
            self.cache[left], self.cache[above_left] = here, above
        self.cache[layer.path] = write(self.cache[layer.path], column, here)
        return ops.concatenate(window, axis=-1)

    def remember(self, layer, x):
        """Puts `x` where a masked convolution took the pixel from before it was known."""
        _, columns = layer.kernel_size
        here = ops.reshape(x, (-1, x.shape[-1]))
        row = self.cache[f"{layer.path}/row"]
        self.cache[f"{layer.path}/row"] = write(row, self._column(0) + columns // 2, here)

    def _masked_window(self, layer, x):
        """The window around the new pixel; of what comes after it the mask takes nothing."""
        self.remember(layer, x)
        rows, columns = layer.kernel_size
        column, above = self._column(0), self.cache[layer.path]
        window = read_at(self.cache[f"{layer.path}/row"][None], 1, column, columns)
        if rows > 1:
            window = ops.concatenate([read_at(above, 1, column, columns), window], axis=0)
        window = ops.transpose(window, (2, 0, 1, 3))  # (batch, rows, columns, channels)
        return ops.expand_dims(window, 1)

    def descend(self, level, downsampling, x, lower_levels):
        """Runs the lower resolutions every other row and column; each time they give 2×2 pixels."""
        key = f"below_{level}"
        if level < self._running:
            patch = lower_levels(self.convolve(downsampling, x))
            self._right[level] = patch[..., :1, 1:, :]
            below = ops.reshape(patch[..., 1, :, :], (-1, 2, patch.shape[-1]))
            below = ops.swapaxes(below, 0, 1)
            self.cache[key] = write(self.cache[key], self._column(level), below)
            return patch[..., :1, :1, :]
        self._window(downsampling, x)
        if level < self.running_rows:
            return self._right[level]
        return as_pixel(read(self.cache[key], self._column(level)))

    def link(self, features):
        """Returns the other stream's features at the current column."""
        return as_pixel(read(features, self._column(self._level_of(features))))

    def _level_of(self, row):
        return (self.width // row.shape[0]).bit_length() - 1


def _reaches_right(layer):
    """Whether a convolution's window has columns to the right of the pixel."""
    return layer.padding()[1][1] > 0


def as_pixel(x):
    """`(batch, channels)` as an image of one pixel, `(batch, 1, 1, 1, channels)`."""
    return ops.reshape(x, (-1, 1, 1, 1, x.shape[-1]))


def columns_first(row):
    """`(batch, 1, 1, columns, channels)` as `(columns, batch, channels)`."""
    return ops.transpose(row[:, 0, 0], (1, 0, 2))
