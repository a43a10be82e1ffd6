"""Evaluates a network on a whole image, or row by row and pixel by pixel for sampling."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import keras
from keras import ops

from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.convolutions import DownRightShiftedConv2D, ShiftedConv2D
from keras_pixelcnnpp.utils.backend import Nest, Tensor, Tensors
from keras_pixelcnnpp.utils.indexing import read, read_at, writable_like, write, written

# Cached inputs of each convolution, by the layer's path, and cached outputs of lower resolutions.
Cache = dict[str, Tensors]
# Row and column; `None` stands for all of them.
Position = tuple[Tensor | None, Tensor | None]
# Evaluates the lower resolutions on downsampled features, by the evaluation of the next resolution,
# and upsamples the result.
LowerResolutions = Callable[[Tensor, "Evaluation"], Tensor]


@dataclass
class Convolution:
    """A convolution that a network calls through the evaluation.

    `resolution` is 0 for the resolution of the image. `candidates` is the length of the candidate
    axis of the layer's input, which is the pixels themselves if `on_pixels`.
    """

    layer: ShiftedConv2D
    resolution: int
    candidates: int
    on_pixels: bool


@dataclass
class Stack:
    """The convolutions of a stack; see `sampling.structure`.

    `upsampled` maps each resolution that has a lower one to the downsampling, and to the numbers of
    candidates and channels of the features that the lower resolution returns.
    """

    convolutions: list[Convolution] = field(default_factory=list)
    upsampled: dict[int, tuple[ShiftedConv2D, int, int]] = field(default_factory=dict)


class Evaluation:
    """Evaluates a network on whole images; its subclasses evaluate one row or one pixel.

    A network calls its convolutions and its lower resolutions through an evaluation, so that
    the incremental sampler can run the same network on one row or one pixel at a time. All other
    layers and the nonlinearities are applied through the evaluation's `arithmetic`.

    Args:
        arithmetic: Arithmetic of the layers and nonlinearities.
        condition: The result of `AutoregressiveNetwork.encoded`: the encoded condition at each
            resolution, of which the last also holds for lower ones.
        position: Row and column that are evaluated, at the resolution of the image.

    Attributes:
        resolution: Integer, the resolution of the current features, 0 for that of the image.
    """

    def __init__(
        self,
        arithmetic: FloatArithmetic = FloatArithmetic(),
        condition: Sequence[Nest] = (),
        position: Position = (None, None),
    ):
        self.arithmetic = arithmetic
        self.resolution = 0
        self._condition = condition
        self._position = position

    @property
    def position(self) -> Position:
        """Row and column that are evaluated, at the resolution of the current features."""
        row, column = (
            None if index is None else index // 2**self.resolution for index in self._position
        )
        return row, column

    @property
    def condition(self) -> Nest:
        """The encoded condition at the evaluated positions; `None` for an unconditional model.

        A tensor `(batch, candidates, height, width, ...)`, or a tuple with one for each part of the
        condition. Height and width are 1 if it is the same everywhere.
        """
        if not self._condition:
            return None
        here = self._condition[min(self.resolution, len(self._condition) - 1)]
        return keras.tree.map_structure(self._at_position, here)

    def _at_position(self, encoded: Tensor) -> Tensor:
        if encoded.shape[2:4] == (1, 1):
            return encoded
        for axis, index in enumerate(self.position, start=2):
            if index is not None:
                encoded = read_at(encoded, axis, index, 1)
        return encoded

    def convolve(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Applies a shifted or masked convolution to `x`."""
        return self.arithmetic.apply(layer, x)

    def descend(self, downsampling: ShiftedConv2D, x: Tensor, lower: LowerResolutions) -> Tensor:
        """Downsamples `x`, and returns the result of the lower resolutions, upsampled again."""
        return lower(self.convolve(downsampling, x), self._below())

    def _below(self) -> Self:
        """Returns the evaluation of the next lower resolution, which has the same caches."""
        below = copy.copy(self)
        below.resolution += 1
        return below

    def link(self, features: Tensor) -> Tensor:
        """Returns the vertical stack's features at the evaluated positions."""
        return features


class _PartialEvaluation(Evaluation):
    """Evaluates a part of each resolution, with a cache of earlier parts."""

    def __init__(
        self,
        cache: Cache,
        row: Tensor,
        num_lower: int,
        arithmetic: FloatArithmetic,
        condition: Sequence[Nest] = (),
    ):
        super().__init__(arithmetic, condition, (row, None))
        self.cache = {name: dict(entries) for name, entries in cache.items()}
        self._num_lower = num_lower


class VerticalEvaluation(_PartialEvaluation):
    """Evaluates the vertical stack on one new row, with the rows above from a cache.

    Args:
        cache: The result of `initial_cache`, or the attribute `cache` of the evaluation of the
            row above. `"rows"` maps the path of each convolution with several kernel rows to its
            last input rows. `"below"` maps each resolution to the second of the two rows that the
            next lower one returned.
        row: Integer tensor, the row.
        num_lower: Integer, number of lower resolutions that are evaluated at this row.
        arithmetic, condition: See `Evaluation`.
    """

    @staticmethod
    def initial_cache(
        stack: Stack, width: int, batch_size: int | Tensor, arithmetic: FloatArithmetic
    ) -> Cache:
        """Returns the cache before the first row: zeros, like the padding of a whole image."""
        rows, below = {}, {}
        for one in stack.convolutions:
            above = one.layer.window.rows - 1
            if above > 0:
                columns, channels = width // 2**one.resolution, one.layer.direction.shape[-2]
                shape = (batch_size, one.candidates, above, columns, channels)
                rows[one.layer.path] = ops.zeros(shape, arithmetic.dtype(one.layer))
        for resolution, (layer, candidates, channels) in stack.upsampled.items():
            shape = (batch_size, candidates, 1, width // 2**resolution, channels)
            below[f"{resolution}"] = ops.zeros(shape, arithmetic.dtype(layer))
        return {"rows": rows, "below": below}

    @staticmethod
    def take(cache: Cache, chosen: Tensor) -> Cache:
        """Replaces each image in the cache by the image with the index `chosen` `(batch,)`."""
        return {
            kind: {name: take_images(x, chosen, axis=0) for name, x in entries.items()}
            for kind, entries in cache.items()
        }

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

    def descend(self, downsampling: ShiftedConv2D, x: Tensor, lower: LowerResolutions) -> Tensor:
        """Evaluates the lower resolutions at every other row; each time they return two rows."""
        below, name = self.cache["below"], f"{self.resolution}"
        if self.resolution >= self._num_lower:
            self._window(downsampling, x)
            return below[name]
        rows = lower(self.convolve(downsampling, x), self._below())
        below[name] = rows[..., 1:, :, :]
        return rows[..., :1, :, :]


class HorizontalEvaluation(_PartialEvaluation):
    """Evaluates the horizontal stack on one new pixel, with its neighbors from a cache.

    The cache maps names to dicts:

    - A group of convolutions with windows of 2×1 or 2×2 pixels, whose inputs have the same shape,
      is cached together, so that a pixel reads and writes once for all of them. `"row"` is their
      inputs in the current row, `(columns, convolutions, batch * candidates, channels)`, and
      `"above"` is those of the row above. The first is only written and the second only read,
      because a compiled loop copies a tensor that it reads and writes. `"left"` and `"above_left"`
      are the inputs at these neighbors, for windows of 2×2 pixels.
    - For another convolution, which has its path as the name, `"above"` is the padded rows above
      `(rows, columns, batch * candidates, channels)`, and `"row"` is the current row.

    The entry `"below"` maps each resolution to the second of the two rows that the next lower one
    returned, `(columns, batch, candidates, channels)`.

    The inputs of convolutions that are applied to the pixels are one column behind, because the
    current pixel is not known yet. These convolutions exclude the current column.

    Args:
        stack: The `Stack`.
        cache: The result of `start_row`, or the attribute `cache` of the last evaluation.
        row, num_lower, arithmetic, condition: See `VerticalEvaluation`.
    """

    def __init__(
        self,
        stack: Stack,
        cache: Cache,
        row: Tensor,
        num_lower: int,
        arithmetic: FloatArithmetic,
        condition: Sequence[Nest] = (),
    ):
        super().__init__(cache, row, num_lower, arithmetic, condition)
        self._groups = _groups(stack, arithmetic)
        self._num_lower_in_row = num_lower
        self._right = {}  # upsampled features of the next column

    @staticmethod
    def initial_cache(
        stack: Stack, width: int, batch_size: int | Tensor, arithmetic: FloatArithmetic
    ) -> Cache:
        """Returns the cache before the first row; see `VerticalEvaluation.initial_cache`."""
        cache, below = {}, {}
        for name, group in _groups(stack, arithmetic).items():
            layer, columns = group[0].layer, width // 2 ** group[0].resolution
            size = batch_size * group[0].candidates, layer.direction.shape[-2]
            shape = columns, len(group), *size
            if not _is_narrow(layer):
                shape = layer.window.rows - 1, columns + layer.window.columns - 1, *size
            cache[name] = {"above": ops.zeros(shape, arithmetic.dtype(layer))}
        for resolution, (layer, candidates, channels) in stack.upsampled.items():
            shape = (width // 2**resolution, batch_size, candidates, channels)
            below[f"{resolution}"] = ops.zeros(shape, arithmetic.dtype(layer))
        return {**cache, "below": below}

    @staticmethod
    def start_row(cache: Cache, stack: Stack, num_lower: int, arithmetic: FloatArithmetic) -> Cache:
        """Returns the cache before the first column of a row, with zeros as left neighbors."""
        started = dict(cache)
        for name, group in _groups(stack, arithmetic).items():
            if group[0].resolution > num_lower:
                continue
            above, layer = cache[name]["above"], group[0].layer
            entry = {"above": above}
            if not _is_narrow(layer):
                entry["row"] = ops.zeros(ops.shape(above)[1:], arithmetic.dtype(layer))
            else:
                entry["row"] = writable_like(above)
                if layer.window.left > 0:
                    entry["left"] = entry["above_left"] = ops.zeros_like(above[0])
            started[name] = entry
        return started

    @staticmethod
    def end_row(cache: Cache, stack: Stack, num_lower: int, arithmetic: FloatArithmetic) -> Cache:
        """Converts the cache after the last column of a row to the cache for the next row."""
        ended = dict(cache)
        for name, group in _groups(stack, arithmetic).items():
            if group[0].resolution > num_lower:
                continue
            entry = cache[name]
            if _is_narrow(group[0].layer):
                above = written(entry["row"])
            else:
                above = ops.concatenate([entry["above"], entry["row"][None]], axis=0)[1:]
            ended[name] = {"above": above}
        return ended

    @staticmethod
    def take(cache: Cache, chosen: Tensor) -> Cache:
        """Replaces images in a cache of `end_row`; see `VerticalEvaluation.take`."""
        return {
            path: {
                name: take_images(x, chosen, axis=1 if path == "below" else 2)
                for name, x in entry.items()
            }
            for path, entry in cache.items()
        }

    def at(self, column: Callable[[int], Tensor], num_lower: int) -> None:
        """Moves to a column, whose (possibly traced) index at a resolution is `column(r)`.

        `num_lower` is the number of lower resolutions that this column has at most.
        """
        self._column = column
        self._num_lower = min(self._num_lower_in_row, num_lower)
        self._neighbors = {}  # above and on the left, by the layer's path
        self._here = {}  # inputs at this column, by the layer's path

    @property
    def position(self) -> Position:
        return super().position[0], self._column(self.resolution)

    def convolve(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Applies a convolution to the cached neighbors and the new pixel."""
        outputs = self.arithmetic.apply(layer, self._window(layer, x), padded=True)
        if x.shape[1] == 1:
            return outputs
        return ops.reshape(outputs, (-1, x.shape[1], 1, 1, outputs.shape[-1]))

    def _window(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Returns the cached neighbors and the new pixel, and keeps the new pixel."""
        if not _is_narrow(layer):
            return self._wide_window(layer, x)
        if layer.path not in self._neighbors:
            self._read_neighbors(layer)
        here = self._here[layer.path] = ops.reshape(x, (-1, x.shape[-1]))
        return ops.concatenate([*self._neighbors[layer.path], here], axis=-1)

    def _read_neighbors(self, layer: ShiftedConv2D) -> None:
        """Reads the neighbors of the current pixel for all convolutions in a layer's group."""
        for name, group in self._groups.items():
            paths = [one.layer.path for one in group]
            if layer.path in paths:
                entry = self.cache[name]
                parts = [read(entry["above"], self._column(self.resolution))]
                if "left" in entry:
                    parts = [entry["above_left"], *parts, entry["left"]]
                    entry["above_left"] = parts[1]
                each = zip(*map(ops.unstack, parts), strict=True)
                self._neighbors.update(zip(paths, each, strict=True))

    def end_pixel(self, pixel: Tensor) -> None:
        """Stores the inputs at this column.

        They include the finished pixel for the masked convolutions, whose inputs are not behind.
        """
        for name, group in self._groups.items():
            first = group[0]
            if first.layer.path in self._here:
                entry, column = self.cache[name], self._column(first.resolution)
                here = ops.stack([self._here[one.layer.path] for one in group])
                entry["row"] = write(entry["row"], column, here)
                if "left" in entry:
                    entry["left"] = here
            if first.on_pixels and not any(first.layer.window.gap):
                self.remember(first.layer, pixel)

    def _wide_window(self, layer: ShiftedConv2D, x: Tensor) -> Tensor:
        """Returns the window around the new pixel; a mask excludes later pixels."""
        self.remember(layer, x)
        column, entry = self._column(self.resolution), self.cache[layer.path]
        pixels = read_at(entry["row"][None], 1, column, layer.window.columns)
        if layer.window.rows > 1:
            above = read_at(entry["above"], 1, column, layer.window.columns)
            pixels = ops.concatenate([above, pixels], axis=0)
        pixels = ops.transpose(pixels, (2, 0, 1, 3))  # (batch, rows, columns, channels)
        return ops.expand_dims(pixels, 1)

    def remember(self, layer: ShiftedConv2D, x: Tensor) -> None:
        """Stores the pixel `x` in the cache of a layer with a wide window."""
        entry, column = self.cache[layer.path], self._column(self.resolution)
        here = ops.reshape(x, (-1, x.shape[-1]))
        entry["row"] = write(entry["row"], column + layer.window.left, here)

    def descend(self, downsampling: ShiftedConv2D, x: Tensor, lower: LowerResolutions) -> Tensor:
        """Evaluates the lower resolutions at every other row and column, for 2×2 pixels."""
        below, name = self.cache["below"], f"{self.resolution}"
        column = self._column(self.resolution)
        if self.resolution < self._num_lower:
            patch = lower(self.convolve(downsampling, x), self._below())
            self._right[name] = patch[..., :1, 1:, :]
            below[name] = write(below[name], column, columns_first(patch[..., 1:, :, :]))
            return patch[..., :1, :1, :]
        self._window(downsampling, x)
        if self.resolution < self._num_lower_in_row:
            return self._right[name]
        return as_pixel(read(below[name], column))

    def link(self, features: Tensor) -> Tensor:
        """Returns the vertical stack's features at the current column."""
        return as_pixel(read(features, self._column(self.resolution)))


def take_images(x: Tensor, chosen: Tensor, axis: int) -> Tensor:
    """Gathers images along `axis`, which contains images or pairs of image and candidate.

    `chosen` is int `(batch,)`, the index of the image that replaces each image.
    """
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if 0 in before:  # a kernel of one row caches no rows
        return x
    by_image = ops.reshape(x, (*before, ops.shape(chosen)[0], -1))
    return ops.reshape(ops.take(by_image, chosen, axis=axis), (*before, -1, *after))


def _is_narrow(layer: ShiftedConv2D) -> bool:
    """Returns whether a convolution's window has 2×1 or 2×2 pixels, none to the right."""
    shifted = isinstance(layer, DownRightShiftedConv2D)
    return shifted and layer.window.rows == 2 and layer.window.columns <= 2


def _groups(stack: Stack, arithmetic: FloatArithmetic) -> dict[str, list[Convolution]]:
    """Returns the convolutions that are cached together, by the name of their cache."""
    groups = {}
    for one in stack.convolutions:
        layer, name = one.layer, one.layer.path
        if _is_narrow(layer):
            kind = one.resolution, one.candidates, layer.window.columns, layer.direction.shape[-2]
            name = f"{kind} {arithmetic.dtype(layer)}"
        groups.setdefault(name, []).append(one)
    return groups


def as_pixel(x: Tensor) -> Tensor:
    """Reshapes `(batch, candidates, channels)` to `(batch, candidates, 1, 1, channels)`."""
    return ops.reshape(x, (-1, x.shape[1], 1, 1, x.shape[-1]))


def columns_first(row: Tensor) -> Tensor:
    """Moves the columns of `(batch, candidates, 1, columns, channels)` to the first axis."""
    return ops.transpose(row[:, :, 0], (2, 0, 1, 3))
