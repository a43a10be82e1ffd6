"""Encodes whole images in one evaluation of the model, and decodes them pixel by pixel."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from keras import ops

from keras_pixelcnnpp.codec import streams
from keras_pixelcnnpp.codec.blocks import Block, waves
from keras_pixelcnnpp.codec.exact_model import ExactModel
from keras_pixelcnnpp.conditions.values import num_images
from keras_pixelcnnpp.distributions.counts import TOTAL, Cumulative
from keras_pixelcnnpp.layers.fixed_point import FixedPointArithmetic, as_whole_numbers
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass
from keras_pixelcnnpp.utils.backend import Nest, Tensor, compiled, float64, host_function, progress
from keras_pixelcnnpp.utils.checks import image_dtype
from keras_pixelcnnpp.utils.memory import rows_at_once


class ImageCoder:
    """Encodes images to streams and decodes them.

    An image has one block, or is a frame of several rows of blocks. A stream is a row of blocks: it
    contains the label of the image, and then the sub-pixels of each block in raster order. Encoder
    and decoder compute the same parameters of each sub-pixel in fixed point.
    """

    def __init__(self, exact: ExactModel):
        self.exact = exact
        self._parameters = compiled(self._whole_images, [])
        self._idle = []  # unused decoders; each thread needs its own

    def encode(
        self,
        levels: np.ndarray,
        labels: np.ndarray,
        blocks: list[list[Block]],
        verbose: int | str = "auto",
    ) -> list[bytes]:
        """Encodes images to a list of streams, those of the first image first.

        `labels` are int32 `(N,)`, 0 for an unconditional model.
        """
        limit = rows_at_once(self.exact.image_shape, self.exact.widths, "float64")
        at_once = max(1, min(len(levels) * len(blocks[0]), limit))
        step = -(-at_once // len(blocks[0]))
        found = []
        tick = progress(-(-len(levels) // step) * len(blocks), verbose)
        for start in range(0, len(levels), step):
            images = slice(start, start + step)
            by_row = []
            for row in blocks:
                by_row.append(self._encode_row(levels[images], labels[images], row, at_once))
                tick()
            found += [stream for image in zip(*by_row, strict=True) for stream in image]
        return found

    def _encode_row(
        self, levels: np.ndarray, labels: np.ndarray, row: list[Block], at_once: int
    ) -> list[bytes]:
        """Encodes a row of blocks of each image, evaluating `at_once` windows together."""
        windows = np.concatenate([levels[:, block.rows, block.columns] for block in row])
        of_windows = np.tile(labels, len(row))
        parts = []
        for start in range(0, len(windows), at_once):
            # The last part is padded to the common size, so that only one size is compiled.
            rows = np.minimum(np.arange(start, start + at_once), len(windows) - 1)
            parts.append(self._shares(windows[rows], of_windows[rows])[:, : len(windows) - start])
        shares = np.split(np.concatenate(parts, axis=1), len(row), axis=1)
        share = TOTAL // self.exact.num_labels
        symbols = [np.stack([labels * share, np.full_like(labels, share)])[..., None]]
        for block, of_block in zip(row, shares, strict=True):
            symbols.append(of_block[:, :, ~block.known].reshape(2, len(levels), -1))
        return streams.encode(*np.concatenate(symbols, axis=-1))

    def _shares(self, levels: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Returns starts and shares of the sub-pixels, int32 `(2, N, height, width, channels)`."""
        shape, channels = levels.shape, levels.shape[-1]
        with float64():
            parameters = self._parameters(self.exact.inputs(labels) | {"levels": levels})
        parameters = ops.convert_to_numpy(parameters).reshape(-1, parameters.shape[-1])
        levels, parameters = (
            levels.reshape(-1, channels).astype("int64"),
            parameters.astype("int64"),
        )
        found = []
        for channel in range(channels):
            cumulative = self.exact.counts.sub_pixel(parameters, list(levels.T[:channel]))
            found.append(_checked_shares(cumulative, levels[:, channel], self.exact.num_levels))
        return np.stack(found, axis=-1).reshape(2, *shape).astype("int32")

    def _whole_images(self, inputs: dict) -> Tensor:
        arithmetic = FixedPointArithmetic().with_kernels(inputs["kernels"])
        with self.exact.weights(inputs):
            parameters = self.exact.network.call(
                inputs["levels"][:, None], inputs["values"], arithmetic
            )
        return as_whole_numbers(parameters)

    def decode(
        self,
        coded: Sequence[bytes],
        blocks: list[list[Block]],
        batch_size: int,
        tick: Callable[[], None] = lambda: None,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Decodes streams to levels and labels. Returns `None` if they don't fit the model.

        `tick` is called after each sub-pixel of a window. `batch_size` is the number of images of
        the compiled batch, at least that of the streams.
        """
        try:
            decoder = self._idle.pop()
        except IndexError:
            decoder = PixelDecoder(self.exact)
        found = decoder.decode(coded, blocks, batch_size, tick)
        self._idle.append(decoder)
        return found


class PixelDecoder:
    """Decodes streams by an incremental pass of the model, which calls Python at each pixel."""

    def __init__(self, exact: ExactModel):
        self.exact = exact
        self._pass = IncrementalPass(exact, arithmetic=FixedPointArithmetic())
        self._run = compiled(self, [])

    def decode(
        self,
        coded: Sequence[bytes],
        blocks: list[list[Block]],
        batch_size: int,
        tick: Callable[[], None],
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Decodes streams; see `ImageCoder.decode`."""
        exact, per_image = self.exact, len(blocks)
        self._streams, self._tick = streams.Decoder(coded), tick
        share = TOTAL // exact.num_labels
        found = np.minimum(self._streams.slots // share, exact.num_labels - 1)
        self._streams.read(found * share, share)
        labels = np.zeros(batch_size * per_image, "int32")
        labels[: len(coded)] = found
        bottom, right = (part.stop for part in blocks[-1][-1].inside)
        images = np.zeros((len(coded) // per_image, bottom, right, exact.image_shape[-1]), "int64")
        for wave in waves(blocks):
            self._decode_wave(images, labels, wave, per_image)
        if not self._streams.is_finished:
            return None
        return images.astype(image_dtype(exact.num_levels)), labels[: len(coded) : per_image]

    def _decode_wave(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        wave: list[tuple[int, int, Block]],
        per_image: int,
    ) -> None:
        """Decodes a block of each stream. Rows without a block in this wave are all known."""
        height, width, channels = self.exact.image_shape
        known = np.ones((len(images), per_image, height, width), bool)
        windows = np.zeros((*known.shape, channels), "int64")
        for row, _, block in wave:
            known[:, row] = block.known
            windows[:, row] = images[:, block.rows, block.columns]
        self._known = known.reshape(-1, height * width)
        self._pixels = windows.reshape(-1, height * width, channels)
        self._place, self._channel = 0, 0
        with float64():
            # Under JAX, the conversion waits for the end of the pass.
            ops.convert_to_numpy(self._run(self.exact.inputs(labels)))
        for row, _, block in wave:
            images[:, *block.inside] = windows[:, row, block.above :, block.left :]

    def __call__(self, inputs: dict) -> Tensor:
        """Runs the pass, for `compiled`; returns levels `(batch, height, width, channels)`."""
        batch_size = num_images(inputs["values"])
        with self.exact.weights(inputs):
            levels, _ = self._pass.run(
                inputs["values"], batch_size, self._choose, kernels=inputs["kernels"]
            )
        return ops.transpose(levels, (2, 0, 1, 3))

    def _choose(
        self, parameters: Tensor, row: Tensor, column: Tensor, carry: Nest
    ) -> tuple[Tensor, Nest]:
        whole = as_whole_numbers(ops.reshape(parameters, (-1, parameters.shape[-1])))
        shape = (whole.shape[0], self.exact.image_shape[-1])
        return host_function(self._read_pixel, whole, shape), carry

    def _read_pixel(self, parameters: np.ndarray) -> np.ndarray:
        """Reads the sub-pixels whose parameters are valid; later ones are 0, or already known.

        With channel groups, this is the next channel of the pixel, otherwise all channels.
        """
        # Slicing a JAX array here would start a computation within the running one.
        parameters, pixel = np.asarray(parameters), self._pixels[:, self._place]
        known = self._known[:, self._place]
        count, channels = pixel.shape
        levels = np.zeros((len(parameters), channels), "float32")
        parameters = parameters[:count].astype("int64")
        for _ in range(channels // self.exact.network.evaluations_per_pixel):
            channel = self._channel
            cumulative = self.exact.counts.sub_pixel(parameters, list(pixel.T[:channel]))
            found, below, above = _level_at(cumulative, self._streams.slots, self.exact.num_levels)
            # Reading the share of all slots leaves a stream as it is.
            below, above = np.where(known, 0, below), np.where(known, TOTAL, above)
            self._streams.read(below, above - below)
            pixel[:, channel] = np.where(known, pixel[:, channel], found)
            self._channel = (channel + 1) % channels
            self._tick()
        levels[:count] = pixel
        self._place += self._channel == 0
        return levels


def _checked_shares(cumulative: Cumulative, levels: np.ndarray, num_levels: int) -> np.ndarray:
    """Returns starts and shares of levels, int64 `(2, N)`, if a decoder can find them."""
    below = cumulative(levels)
    shares = cumulative(levels + 1) - below
    start, end = cumulative(np.zeros_like(levels)), cumulative(np.full_like(levels, num_levels))
    if np.any(shares < 1) or np.any(start != 0) or np.any(end != TOTAL):
        raise ArithmeticError(
            "The images cannot be compressed, because of an error in the head's method `counts`. "
            f"Expected: positive shares of the levels, from 0 to {TOTAL}. Received: shares of at "
            f"least {shares.min()}, from {start.min()} to {end.max()}"
        )
    return np.stack([below, shares])


def _level_at(
    cumulative: Cumulative, slots: np.ndarray, num_levels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the level whose share contains a slot by bisection; also returns the share's bounds."""
    level, end = np.zeros_like(slots), np.full_like(slots, num_levels)
    below, above = np.zeros_like(slots), np.full_like(slots, TOTAL)
    for _ in range(math.ceil(math.log2(num_levels))):
        middle = (level + end) // 2
        share = cumulative(middle)
        higher = share <= slots
        level, end = np.where(higher, middle, level), np.where(higher, end, middle)
        below, above = np.where(higher, share, below), np.where(higher, above, share)
    return level, below, above
