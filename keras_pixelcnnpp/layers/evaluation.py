"""Evaluates a network on a whole image, or row by row and pixel by pixel for sampling."""

from collections.abc import Callable

import keras
from keras import ops

from keras_pixelcnnpp.backend import Tensor, Tensors, read, read_at, write
from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.convolutions import Convolutions, ShiftedConv2D

# Cached inputs of each convolution, by the layer's path, and cached outputs of lower resolutions.
Cache = dict[str, Tensors]
# Row and column at the lowest resolution; `None` stands for all of them.
Position = tuple[Tensor | None, Tensor | None]
# Evaluates the lower resolutions on downsampled features and upsamples the result.
LowerLevels = Callable[[Tensor], Tensor]


class Evaluation:
    """Evaluates a network on whole images; its subclasses evaluate one row or one pixel.

    A network calls its convolutions and its lower resolutions through an evaluation, so that
    the incremental sampler can run the same network on one row or one pixel at a time. All other
    layers and the nonlinearities are applied through the evaluation's `arithmetic`.
    """

    position: Position = (None, None)  # of the evaluated row or pixel

    def __init__(self, arithmetic: FloatArithmetic = FloatArithmetic()):
        self.arithmetic = arithmetic

    def convolve(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Applies a shifted or masked convolution to `x`."""
        return self.arithmetic.apply(layer, x)

    def descend(
        self, level: int, downsampling: ShiftedConv2D, x: Tensor, lower_levels: LowerLevels
    ) -> Tensor:
        """Downsamples from resolution `level`, evaluates the lower ones, and upsamples again."""
        return lower_levels(self.convolve(downsampling, x))

    def link(self, features: Tensor, level: int) -> Tensor:
        """Returns the vertical stack's features at a resolution for the evaluated positions."""
        return features


class VerticalEvaluation(Evaluation):
    """Evaluates the vertical stack on one new row, with the rows above from a cache.

    Args:
        cache: The result of `initial_cache`, or the attribute `cache` of the evaluation of the
            row above. `"rows"` maps the path of each convolution with several kernel rows to its
            last input rows. `"below"` maps each level to the second of the two rows that the next
            lower resolution returned.
        running: Integer, number of lower resolutions that are evaluated at this row.
        position: Pair of the row at the lowest resolution and `None`.
        arithmetic: Arithmetic of the layers and nonlinearities.
    """

    def __init__(self, cache: Cache, running: int, position: Position, arithmetic: FloatArithmetic):
        self.arithmetic = arithmetic
        self.cache = {name: dict(entries) for name, entries in cache.items()}
        self.running = running
        self.position = position

    @staticmethod
    def initial_cache(
        network: keras.layers.Layer,
        width: int,
        batch_size: int | Tensor,
        candidates: dict[str, int],
        arithmetic: FloatArithmetic,
    ) -> Cache:
        """Returns the cache before the first row: zeros, like the padding of a whole image.

        `network` is an `AutoregressiveNetwork`. `candidates` maps the path of each of its layers
        to the length of the candidate axis of the layer's input.
        """
        rows, below = {}, {}
        for layer, level in network.vertical_convolutions():
            height, _, channels, _ = layer.direction.shape
            if height > 1:
                columns = width // 2**level
                shape = (batch_size, candidates[layer.path], height - 1, columns, channels)
                rows[layer.path] = ops.zeros(shape, arithmetic.dtype(layer))
        for level, layer in enumerate(network.vertical_upsamplings):
            shape = (batch_size, candidates[layer.path], 1, width // 2**level, layer.filters)
            below[f"{level}"] = ops.zeros(shape, arithmetic.dtype(layer))
        return {"rows": rows, "below": below}

    @staticmethod
    def of_images(cache: Cache, images: Tensor) -> Cache:
        """Gathers the images with the indices `images` `(batch,)` in the cache."""
        return keras.tree.map_structure(lambda x: take_images(x, images, axis=0), cache)

    def convolve(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Applies a convolution to the cached rows followed by the new row."""
        window = layer.pad_columns(self._window(layer, x))
        return self.arithmetic.apply(layer, window, padded=True)

    def _window(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Returns the cached rows followed by the new row, and stores the new row."""
        cached = self.cache["rows"].get(layer.path)
        if cached is None:
            return x
        rows = ops.concatenate([cached, x], axis=-3)
        self.cache["rows"][layer.path] = x if cached.shape[-3] == 1 else rows[..., 1:, :, :]
        return rows

    def descend(
        self, level: int, downsampling: ShiftedConv2D, x: Tensor, lower_levels: LowerLevels
    ) -> Tensor:
        """Evaluates the lower resolutions at every other row; each time they return two rows."""
        below = self.cache["below"]
        if level >= self.running:
            self._window(downsampling, x)
            return below[f"{level}"]
        rows = lower_levels(self.convolve(downsampling, x))
        below[f"{level}"] = rows[..., 1:, :, :]
        return rows[..., :1, :, :]


class HorizontalEvaluation(Evaluation):
    """Evaluates the horizontal stack on one new pixel, with its neighbors from a cache.

    The cache maps the path of each convolution to a dict:

    - Shifted convolutions: `"row"` is one row of inputs `(columns, batch * candidates, channels)`,
      of the current row left of the current column, and of the row above elsewhere. `"left"` and
      `"above_left"` are the inputs at these neighbors.
    - Masked convolutions, whose window extends to the right: `"above"` is the padded rows above
      `(rows, columns, batch * candidates, channels)`, and `"row"` is the current row.

    Its entry `"below"` maps each level to the second of the two rows that the next lower resolution
    returned, `(columns, batch, candidates, channels)`.

    Args:
        cache: The result of `start_row`, or the attribute `cache` of the last evaluation.
        levels: Dict from the path of a convolution to its resolution.
        running_rows: Integer, number of lower resolutions that are evaluated at this row.
        arithmetic: Arithmetic of the layers and nonlinearities.
    """

    def __init__(
        self, cache: Cache, levels: dict[str, int], running_rows: int, arithmetic: FloatArithmetic
    ):
        self.arithmetic = arithmetic
        self.cache = {name: dict(entries) for name, entries in cache.items()}
        self._levels = levels
        self._running_rows = running_rows
        self._right = {}  # upsampled features of the next column

    @staticmethod
    def initial_cache(
        network: keras.layers.Layer,
        width: int,
        batch_size: int | Tensor,
        candidates: dict[str, int],
        arithmetic: FloatArithmetic,
    ) -> Cache:
        """Returns the cache before the first row; see `VerticalEvaluation.initial_cache`."""
        cache, below = {}, {}
        for layer, level in network.horizontal_convolutions():
            channels, dtype = layer.direction.shape[2], arithmetic.dtype(layer)
            count = batch_size * candidates[layer.path]
            if _reaches_right(layer):
                rows, columns = layer.kernel_size
                shape = (rows - 1, width + columns - 1, count, channels)
                cache[layer.path] = {"above": ops.zeros(shape, dtype)}
            else:
                shape = (width // 2**level, count, channels)
                cache[layer.path] = {"row": ops.zeros(shape, dtype)}
        for level, layer in enumerate(network.horizontal_upsamplings):
            shape = (width // 2**level, batch_size, candidates[layer.path], layer.filters)
            below[f"{level}"] = ops.zeros(shape, arithmetic.dtype(layer))
        return {**cache, "below": below}

    @staticmethod
    def start_row(
        cache: Cache,
        convolutions: Convolutions,
        candidates: dict[str, int],
        arithmetic: FloatArithmetic,
    ) -> Cache:
        """Returns the cache before the first column of a row, with zeros as left neighbors."""
        started, zeros = dict(cache), {}  # layers share zeros: each costs five operations
        for layer, _ in convolutions:
            entry = cache[layer.path]
            if _reaches_right(layer):
                row = ops.zeros(ops.shape(entry["above"])[1:], arithmetic.dtype(layer))
                started[layer.path] = {**entry, "row": row}
            elif layer.kernel_size[1] > 1:
                kind = entry["row"].shape[-1], arithmetic.dtype(layer), candidates[layer.path]
                if kind not in zeros:
                    zeros[kind] = ops.zeros_like(entry["row"][0])
                started[layer.path] = {**entry, "left": zeros[kind], "above_left": zeros[kind]}
        return started

    @staticmethod
    def end_row(cache: Cache) -> Cache:
        """Converts the cache after the last column of a row to the cache for the next row."""

        def end(entry: Tensors) -> Tensors:
            if "above" in entry:
                rows = ops.concatenate([entry["above"], entry["row"][None]], axis=0)
                return {"above": rows[1:]}
            return {"row": entry["row"]}

        layers = {path: end(entry) for path, entry in cache.items() if path != "below"}
        return {**layers, "below": cache["below"]}

    @staticmethod
    def of_images(cache: Cache, images: Tensor) -> Cache:
        """Gathers the images with the indices `images` `(batch,)` in a cache of `end_row`."""
        return {
            path: {
                name: take_images(x, images, axis=2 if name == "above" else 1)
                for name, x in entry.items()
            }
            for path, entry in cache.items()
        }

    def at(self, column: Callable[[int], Tensor], running_columns: int, position: Position) -> None:
        """Moves to a column, whose (possibly traced) index at a resolution is `column(level)`."""
        self._column = column
        self._running = min(self._running_rows, running_columns)
        self.position = position

    def convolve(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Applies a convolution to the cached neighbors and the new pixel."""
        outputs = self.arithmetic.apply(layer, self._window(layer, x), padded=True)
        if x.shape[1] == 1:
            return outputs
        return ops.reshape(outputs, (-1, x.shape[1], 1, 1, outputs.shape[-1]))

    def _window(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Returns the cached neighbors and the new pixel as a matrix, and stores the new pixel."""
        if _reaches_right(layer):
            return self._masked_window(layer, x)
        column, entry = self._column(self._levels[layer.path]), self.cache[layer.path]
        here = ops.reshape(x, (-1, x.shape[-1]))
        above = read(entry["row"], column)
        window = [above, here]
        if layer.kernel_size[1] > 1:
            window = [entry["above_left"], above, entry["left"], here]
            entry["left"], entry["above_left"] = here, above
        entry["row"] = write(entry["row"], column, here)
        return ops.concatenate(window, axis=-1)

    def remember(self, layer: ShiftedConv2D, x: Tensor) -> None:
        """Stores the pixel `x` in the cache of a masked convolution, at the current column."""
        if not _reaches_right(layer):
            return
        _, columns = layer.kernel_size
        here, entry = ops.reshape(x, (-1, x.shape[-1])), self.cache[layer.path]
        entry["row"] = write(entry["row"], self._column(0) + columns // 2, here)

    def _masked_window(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Returns the window around the new pixel; the mask excludes later pixels."""
        self.remember(layer, x)
        rows, columns = layer.kernel_size
        column, entry = self._column(0), self.cache[layer.path]
        window = read_at(entry["row"][None], 1, column, columns)
        if rows > 1:
            above = read_at(entry["above"], 1, column, columns)
            window = ops.concatenate([above, window], axis=0)
        window = ops.transpose(window, (2, 0, 1, 3))  # (batch, rows, columns, channels)
        return ops.expand_dims(window, 1)

    def descend(
        self, level: int, downsampling: ShiftedConv2D, x: Tensor, lower_levels: LowerLevels
    ) -> Tensor:
        """Evaluates the lower resolutions at every other row and column, for 2×2 pixels."""
        cached = self.cache["below"]
        if level < self._running:
            patch = lower_levels(self.convolve(downsampling, x))
            self._right[level] = patch[..., :1, 1:, :]
            below = columns_first(patch[..., 1:, :, :])
            cached[f"{level}"] = write(cached[f"{level}"], self._column(level), below)
            return patch[..., :1, :1, :]
        self._window(downsampling, x)
        if level < self._running_rows:
            return self._right[level]
        return as_pixel(read(cached[f"{level}"], self._column(level)))

    def link(self, features: Tensor, level: int) -> Tensor:
        """Returns the vertical stack's features at the current column."""
        return as_pixel(read(features, self._column(level)))


def take_images(x: Tensor, images: Tensor, axis: int) -> Tensor:
    """Gathers images along `axis`, which contains images or pairs of image and candidate."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if 0 in before:  # a kernel of one row caches no rows
        return x
    by_image = ops.reshape(x, (*before, ops.shape(images)[0], -1))
    return ops.reshape(ops.take(by_image, images, axis=axis), (*before, -1, *after))


def _reaches_right(layer: ShiftedConv2D) -> bool:
    """Returns whether a convolution's window has columns to the right of the pixel."""
    return layer.padding()[1][1] > 0


def as_pixel(x: Tensor) -> Tensor:
    """Reshapes `(batch, candidates, channels)` to `(batch, candidates, 1, 1, channels)`."""
    return ops.reshape(x, (-1, x.shape[1], 1, 1, x.shape[-1]))


def columns_first(row: Tensor) -> Tensor:
    """Moves the columns of `(batch, candidates, 1, columns, channels)` to the first axis."""
    return ops.transpose(row[:, :, 0], (2, 0, 1, 3))
