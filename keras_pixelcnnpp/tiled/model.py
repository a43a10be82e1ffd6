"""A model applied to frames that are larger than its images."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from scipy.special import log_softmax, logsumexp

from keras_pixelcnnpp.codec.blocks import Block, rows_of_blocks, waves
from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.conditions import Conditions, Group, Values
from keras_pixelcnnpp.conditions.classes import class_of, groups, with_classes, with_one_class
from keras_pixelcnnpp.conditions.values import (
    as_candidates,
    joined_values,
    num_candidates,
    num_images,
    taken,
)
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.scoring import (
    evaluated,
    images_at_once,
    random_choices,
    score,
)
from keras_pixelcnnpp.models.statistics import (
    PixelStatistics,
    parameters_of,
    statistics_of_batch,
    with_pit,
)
from keras_pixelcnnpp.sampling.options import SamplingOptions, ScoringOptions
from keras_pixelcnnpp.sampling.sampler import sample_images
from keras_pixelcnnpp.utils.backend import progress
from keras_pixelcnnpp.utils.checks import image_dtype, require_no_mask, with_channels
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class TiledModel:
    """Likelihoods, samples and compression of frames that are larger than a model's images.

    A frame is divided into blocks in raster order. The window of a block has the size of the
    model's images, with the block in its lower right corner. The model gives the probability of
    each pixel of the block given the window's pixels above it and on its left, which belong to the
    same or to earlier blocks. The product over all pixels is therefore an exact likelihood of the
    frame, in which each pixel is conditioned on fewer pixels than in a model of the frame's size.

    Frames may have any height and width that are at least the model's. Frames of the model's own
    size have one block, and the likelihoods of the model itself. Train the model on random crops of
    frames (`RandomCrops`), because a window's border cuts through the content of a frame.

    A label or a vector holds for all windows of a frame. A map belongs to a frame, and each window
    takes its part of it.

    Results and errors of the methods are those of `AutoregressiveModel`, for `frames` with one
    class each. Log-likelihoods of frames are float64, because float32 rounds those of a million
    pixels to half a nat. With the label -1, the class is inferred from all pixels that are earlier
    in the order of the blocks.

    Args:
        model: An `AutoregressiveModel` without the conditioning strategy `spatial`, which depends
            on the position in an image.
        overlap: Integer, number of earlier rows above and earlier columns to the left of a block in
            its window, less than the model's height and width. By default half of the smaller of
            the two, rounded down so that no window cuts through a pixel of a coarse map. A larger
            overlap gives each pixel more context, but more windows: an overlap of three quarters
            needs four times as many as one of half.

    Raises:
        ValueError: If the model or the overlap does not fit.

    Example:

    ```python
    model = kp.PixelCNNPlusPlus.from_preset("photographs_likelihood")
    tiled = kp.TiledModel(model)
    tiled.bits_per_dim(frames)                 # uint8 (N, 427, 640, 3) -> (N,)
    tiled.sample((64, 96), [0, 1])      # uint8 (2, 64, 96, 3)
    ```
    """

    def __init__(self, model: AutoregressiveModel, overlap: int | None = None):
        if "spatial" in model.conditioning.split("+") or not model.conditions.tileable:
            raise UserError(
                "Expected a model that is not conditioned on the position in an image. Received: "
                f"conditioning={model.conditioning!r}, {model.conditions.description}"
            )
        self.model = model
        self.num_levels = model.num_levels
        self.ordered_levels = model.ordered_levels
        self.window = model.image_shape[:2]
        # Windows start where a pixel of a map starts.
        step = math.lcm(*model.conditions.pixel_size(model.image_shape))
        self.overlap = min(self.window) // 2 // step * step if overlap is None else overlap
        self.blocks(self.window)  # checks the overlap
        if self.overlap % step:
            raise invalid_argument("overlap", overlap, f"a multiple of {step}, a pixel of the map")

    def blocks(self, size: tuple[int, int]) -> list[list[Block]]:
        """Returns the blocks of a frame of a height and width, as a list of rows."""
        return rows_of_blocks(size, self.window, self.overlap)

    def log_prob(
        self,
        frames: np.ndarray,
        condition: Any = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns the log-likelihood of each frame under its label.

        Args:
            frames: uint8 array `(N, H, W, channels)`, with values like those of the model's images,
                and the same dtype.
            condition: A value for each frame, or one for all: labels, int `(N,)` or class names, of
                which -1, or none, stands for the mean of p(x | y) over the classes; vectors, float
                `(N, size)`; maps of the frames' size, or divided by the same numbers as those of
                the model; or a tuple of these in the order of the parts, or a dict by their names.
                `None` for an unconditional model.
            batch_size: Integer, number of windows per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            Float64 array `(N,)`, nats.
        """
        options = ScoringOptions(batch_size=batch_size, verbose=verbose)
        frames = self.checked(frames)
        found = np.zeros(len(frames))
        for rows, candidates in self._candidates(condition, frames):
            scores = self._sums(frames[rows], candidates, options)
            found[rows] = log_marginal(scores)
        return found

    def bits_per_dim(
        self,
        frames: np.ndarray,
        condition: Any = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns bits per dimension of p(x), or of p(x | y) given the condition of each frame.

        Args:
            frames: uint8 array `(N, H, W, channels)`, with values like those of the model's images,
                and the same dtype.
            condition: A value for each frame, or one for all: labels, int `(N,)` or class names, of
                which -1, or none, stands for the mean of p(x | y) over the classes; vectors, float
                `(N, size)`; maps of the frames' size, or divided by the same numbers as those of
                the model; or a tuple of these in the order of the parts, or a dict by their names.
                `None` for an unconditional model.
            batch_size: Integer, number of windows per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            Float64 array `(N,)`, bits/dim.
        """
        frames = self.checked(frames)
        log_probs = self.log_prob(frames, condition, batch_size, verbose)
        return bits_per_dim(log_probs, frames.shape[1:])

    def pixel_log_probs(
        self,
        frames: np.ndarray,
        condition: Any = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns the log-probability of each pixel given those before it, as a map of each frame.

        The pixels before it are those of earlier blocks, and those of its block above it and on its
        left. A pixel has all its channels together. The sum over a frame is its `log_prob`.

        Args:
            frames: uint8 array `(N, H, W, channels)`, with values like those of the model's images,
                and the same dtype.
            condition: A value for each frame, or one for all: labels, int `(N,)` or class names, of
                which -1, or none, stands for the mean of p(x | y) over the classes; vectors, float
                `(N, size)`; maps of the frames' size, or divided by the same numbers as those of
                the model; or a tuple of these in the order of the parts, or a dict by their names.
                `None` for an unconditional model.
            batch_size: Integer, number of windows per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            Float32 array `(N, H, W)`, nats.
        """
        options = ScoringOptions(batch_size=batch_size, verbose=verbose)
        frames = self.checked(frames)
        found = np.zeros(frames.shape[:3], "float32")
        for rows, candidates in _one_by_one(self._candidates(condition, frames)):
            maps = self._maps(frames[rows], candidates, options)
            weights = log_softmax(self._sums_before(maps), axis=1)
            found[rows] = logsumexp(weights + maps, axis=1)
        return found

    def pixel_statistics(
        self,
        frames: np.ndarray,
        condition: Any = None,
        seed: int = 0,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> PixelStatistics:
        """Returns how probable each sub-pixel is, and how probable the model expects it to be.

        Without labels, or with the label -1, the distribution is that of p(x), and the class is
        inferred first, in another pass over the frames.

        Args:
            frames: uint8 array `(N, H, W, channels)`, with values like those of the model's images,
                and the same dtype.
            condition: A value for each frame, or one for all: labels, int `(N,)` or class names, of
                which -1, or none, stands for the mean of p(x | y) over the classes; vectors, float
                `(N, size)`; maps of the frames' size, or divided by the same numbers as those of
                the model; or a tuple of these in the order of the parts, or a dict by their names.
                `None` for an unconditional model.
            seed: Integer >= 0, random seed of the probability integral transform. Its random
                numbers depend on the seed and the values of each image, not on its position.
            batch_size: Integer, number of windows per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            `PixelStatistics`: a named tuple of float32 arrays of the frames' shape.
        """
        options = ScoringOptions(batch_size=batch_size, verbose=verbose, seed=seed)
        frames = self.checked(frames)
        found = np.zeros((*frames.shape, 4), "float32")
        for rows, candidates in _one_by_one(self._candidates(condition, frames)):
            before = np.zeros((len(rows), 1, *frames.shape[1:3]))  # one label needs no weights
            at_once = images_at_once(self.model)
            if num_candidates(candidates) > 1:
                at_once = max(1, at_once // num_candidates(candidates))
                before = self._maps(frames[rows], candidates, options)
                before = self._sums_before(before)
            fewer = replace(options, batch_size=min(batch_size, at_once))
            for batch, windows, of_windows in self._windows(frames[rows], candidates, fewer):
                inputs = {"images": windows, "values": of_windows}
                weights = np.stack([before[index][:, b.rows, b.columns] for index, b in batch])
                parameters = evaluated(self.model, parameters_of, inputs, batch_size)
                parts = statistics_of_batch(self.model, parameters, inputs, weights)
                for (index, block), part in zip(batch, parts, strict=True):
                    found[rows[index]][block.inside] = part[block.above :, block.left :]
        return with_pit(found, frames, seed)

    def class_log_likelihoods(
        self,
        frames: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        condition: Any = None,
    ) -> np.ndarray:
        """Returns the log-likelihood log p(x | y) of each frame for each class.

        Args:
            frames: uint8 array `(N, H, W, channels)`, with values like those of the model's images,
                and the same dtype.
            batch_size: Integer, number of windows per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            condition: What else the model is conditioned on: vectors or maps, one for each image,
                or one for all; if there are both, a tuple in the order of the parts, with `None`
                for the label, or a dict by the names of the parts. `None` for a model of labels
                alone.

        Returns:
            Float64 array `(N, num_classes)`, nats.
        """
        self.model.conditions.require_classes()
        options = ScoringOptions(batch_size=batch_size, verbose=verbose)
        frames = self.checked(frames)
        conditions = self._conditions(frames.shape[1:3])
        values = self._values(condition, len(frames), conditions)
        return self._sums(frames, with_classes(values, conditions.all_classes), options)

    def sample(
        self,
        size: int | tuple[int, int],
        condition: Any,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        guidance_logit_scale: float | None = None,
        batch_size: int = 100,
        verbose: int | str = 0,
        above: np.ndarray | None = None,
    ) -> np.ndarray:
        """Samples frames of any size, or completes frames below a known part.

        With guidance, each window has its own weights of the classes.

        Args:
            size: Pair `(H, W)`, height and width of the frames, or an integer for both.
            condition: Labels, int `(N,)` or class names, of which -1 samples the class at random,
                or by Bayes' rule if a part is known; vectors, float `(N, size)`; maps of the
                frames' size, or divided by the same numbers as those of the model; or a tuple of
                these in the order of the parts, or a dict by their names. A single value gives one
                frame. For an unconditional model, the integer N.
            seed: Integer >= 0. Seed and position among the images determine an image, independent
                of the batch size. `None` gives different images in each call. (A SavedModel
                generates its random numbers in the graph, so the same seed gives different images
                there.)
            temperature: Number from 1e-6 to 1e6. Values below 1 give smoother and less diverse
                images. It divides the logits of each pixel's distribution (those of the mixture
                components or of the levels), and multiplies the scales of a mixture. The result is
                not the mixture to the power 1/T.
            guidance: Number w >= 0. Values above 0 give images that are more typical of their class
                and less diverse. Each sub-pixel is sampled with a probability proportional to
                p(l | y)^(1 + w) / q(l)^w. Here q is the mean of p(l | k) over all classes k,
                weighted by softmax(β r_k), and r_k is the log-likelihood of the earlier sub-pixels
                under class k. Guidance evaluates the network under all classes. Mixtures of more
                than 32 levels are guided in two steps, each with this law: l is first a range of
                about √L of the L levels, and then a level given its range, whose r_k includes the
                range.
            guidance_logit_scale: Number β >= 0, by default half of `logit_scale`. With 1, q is
                based on Bayes' rule, and soon hardly differs from p(l | y).
            batch_size: Integer, number of windows per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            above: Optional uint8 array `(N, rows, W, channels)`, the known upper part of each
                frame. It must end where a row of blocks ends, so that the frames are exact samples
                of p(unknown | known, y).

        Returns:
            uint8 array `(N, H, W, channels)`.

        Raises:
            ValueError: If an argument is out of range, or the known part ends elsewhere.
        """
        height, width = (size, size) if isinstance(size, int | np.integer) else size
        model, blocks = self.model, self.blocks((height, width))
        options = SamplingOptions(
            seed=seed,
            temperature=temperature,
            guidance=guidance,
            guidance_logit_scale=guidance_logit_scale,
            batch_size=batch_size,
            verbose=verbose,
        ).checked(model)
        conditions = self._conditions((height, width))
        wanted = self._scaled(conditions.parse_for_samples(condition))
        count = num_images(wanted)
        shape = (count, height, width, model.image_shape[-1])
        frames, first = np.zeros(shape, image_dtype(model.num_levels)), 0
        if above is not None:
            ends = [row[0].rows.stop for row in blocks]
            rows = above.shape[1] if np.ndim(above) == 4 else None
            if rows not in ends or len(above) != count:
                where = ", ".join(map(str, ends))
                expected = f"{count} frames, of which the upper {where} rows, where blocks end"
                raise invalid_argument("above", np.shape(above), expected)
            above = model.checked_images(above, size=(rows, width))
            frames[:, :rows], first = model.to_images(model.to_levels(above)), ends.index(rows) + 1
        classes = class_of(wanted).copy()
        unknown = np.flatnonzero(classes < 0)
        if len(unknown):
            scores = np.zeros((len(unknown), len(conditions.all_classes)))
            if first:
                given, how = taken(wanted, unknown), ScoringOptions(batch_size=batch_size)
                values = self._part(conditions, given, *map(slice, above.shape[1:3]))
                candidates = with_classes(values, conditions.all_classes)
                scores = self._sums(above[unknown], candidates, how)
            classes[unknown] = random_choices(scores, options.seed, unknown)
            wanted = with_one_class(wanted, classes)
        for wave in waves(blocks[first:]):
            windows = np.concatenate([frames[:, b.rows, b.columns] for *_, b in wave])
            known = np.repeat([b.known for *_, b in wave], count, axis=0)
            of_windows = [self._part(conditions, wanted, b.rows, b.columns) for *_, b in wave]
            # The noise of a window depends on its frame and the number of its block. NumPy splits
            # a position into 32 bits each, and `sampling/` uses the second numbers below 256.
            numbers = [(first + row) * len(blocks[0]) + column for row, column, _ in wave]
            positions = np.add.outer(np.array(numbers) << 40, np.arange(count)).ravel()
            how = {"images": windows, "known": known, "positions": positions}
            images, _ = sample_images(model, joined_values(of_windows), options, **how)
            for (*_, block), sampled in zip(wave, np.split(images, len(wave)), strict=True):
                frames[:, *block.inside] = sampled[:, block.above :, block.left :]
        return frames

    def compress(
        self,
        frames: np.ndarray,
        condition: Any = None,
        verbose: int | str = "auto",
        names: list[str] | None = None,
        verify: bool = True,
    ) -> bytes:
        """Compresses frames of one size; see `AutoregressiveModel.compress`.

        The file contains the overlap. Each row of blocks is a stream of its own, so that all blocks
        on a diagonal are decoded at once.

        Args:
            frames: uint8 array `(N, H, W, channels)`, with values like those of the model's images,
                and the same dtype.
            condition: Int array `(N,)`, class names, or one label for all frames. Labels are stored
                in the file. `None` chooses for each frame the most probable class.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
            names: Optional list of N strings, the names of the frames, for the command
                `decompress`.
            verify: Boolean, whether to decompress the result before it is returned.

        Returns:
            Bytes.
        """
        frames = self.checked(frames)
        conditions = self.model.conditions  # `compress_images` refuses others
        if condition is None and conditions.num_classes and conditions.compressible:
            condition = self.class_log_likelihoods(frames).argmax(axis=1)
        return compress_images(
            self.model, frames, condition, names, verbose, self.overlap, verify=verify
        )

    def decompress(
        self,
        data: bytes | bytearray | memoryview,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Decompresses the result of `compress`, with the overlap that it names.

        Args:
            data: Bytes that `compress` returned.
            batch_size: Integer, number of windows per batch.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            uint8 array `(N, H, W, channels)`.
        """
        return decompress_images(self.model, data, batch_size, verbose, tiled=True)[0]

    def checked(self, frames: np.ndarray) -> np.ndarray:
        """Returns frames as an array `(N, H, W, channels)`, or raises a `UserError`."""
        require_no_mask(frames, "frames")
        if len({np.shape(frame) for frame in frames}) > 1:
            raise UserError("Expected frames of one size. Pass those of each size by themselves")
        array, channels = np.asarray(frames), self.model.image_shape[-1]
        # Frames of one channel may be `(N, H, W)`, and W is larger than 1 if the window is wider.
        is_one = array.ndim == 3 and array.shape[2] == channels != self.window[1]
        if channels == 1 and not is_one:
            array = with_channels(array)
        if array.ndim != 4:
            is_one |= array.ndim == 2 and channels == 1
            shape = f"(N, height, width, {channels})"
            advice = ". Pass one frame as frame[None]" if is_one else ""
            raise UserError(
                f"Invalid frames. Expected shape {shape}. Received: {array.shape}{advice}"
            )
        self.blocks(array.shape[1:3])
        return self.model.checked_images(array, size=array.shape[1:3])

    def _conditions(self, size: tuple[int, int]) -> Conditions:
        """Returns the conditions of frames of a height and width."""
        return self.model.conditions.of_frame(size, self.model.image_shape)

    def _values(self, condition: Any, count: int, conditions: Conditions) -> Values:
        """Returns the condition of `count` frames that a user gave, scaled for the network."""
        return self._scaled(conditions.parse(condition, count))

    def _scaled(self, parsed: Values) -> Values:
        self.model.require_values()
        return self.model.encoder.scaled(parsed)

    def _part(self, conditions: Conditions, values: Values, rows: slice, columns: slice) -> Values:
        """Returns the part of values `(batch, ...)` of frames that belongs to some of the pixels.

        `conditions` are those of the frames.
        """
        height, width = self.model.conditions.pixel_size(self.model.image_shape)
        start, left = (rows.start or 0) // height, (columns.start or 0) // width
        places = slice(start, rows.stop // height), slice(left, columns.stop // width)
        return conditions.in_window(values, *places)

    def _candidates(self, condition: Any, frames: np.ndarray) -> Iterator[Group]:
        """Yields positions of frames, and the values `(rows, K, ...)` under which they are scored.

        The mean is taken over the second axis of the values.
        """
        conditions = self._conditions(frames.shape[1:3])
        values = self._values(condition, len(frames), conditions)
        return groups(as_candidates(values), conditions.num_classes)

    def _sums(self, frames: np.ndarray, values: Values, options: ScoringOptions) -> np.ndarray:
        """Returns log-likelihoods of frames under values `(N, K, ...)`, float64 `(N, K)`."""
        sums = np.zeros((len(frames), num_candidates(values)))
        for index, _, scores in self._scores(frames, values, options):
            sums[index] += scores.sum(axis=(1, 2), dtype="float64")
        return sums

    def _maps(self, frames: np.ndarray, values: Values, options: ScoringOptions) -> np.ndarray:
        """Returns log-probabilities of pixels under values, float32 `(N, K, H, W)`, nats."""
        maps = np.zeros((len(frames), num_candidates(values), *frames.shape[1:3]), "float32")
        for index, block, scores in self._scores(frames, values, options):
            maps[index][:, *block.inside] = scores
        return maps

    def _scores(
        self, frames: np.ndarray, values: Values, options: ScoringOptions
    ) -> Iterator[tuple[int, Block, np.ndarray]]:
        """Yields the index of a frame, a block and its scores `(K, height, width)`, nats."""
        silent = replace(options, verbose=0)
        for batch, windows, of_windows in self._windows(frames, values, options):
            scores = score(self.model, windows, of_windows, silent, "pixel")
            for (index, block), pixels in zip(batch, scores, strict=True):
                yield index, block, pixels[:, block.above :, block.left :]

    def _windows(
        self, frames: np.ndarray, values: Values, options: ScoringOptions
    ) -> Iterator[tuple[list[tuple[int, Block]], np.ndarray, Values]]:
        """Yields batches: pairs of the index of a frame and a block, their windows, and values.

        `values` are those of the frames, `(N, K, ...)`.
        """
        conditions = self._conditions(frames.shape[1:3])
        blocks = [block for row in self.blocks(frames.shape[1:3]) for block in row]
        places = [(index, block) for index in range(len(frames)) for block in blocks]
        starts = range(0, len(places), options.batch_size)
        tick = progress(len(starts), options.verbose)
        for start in starts:
            batch = places[start : start + options.batch_size]
            windows = np.stack([frames[index, b.rows, b.columns] for index, b in batch])
            of_windows = [
                self._part(conditions, taken(values, index), b.rows, b.columns)
                for index, b in batch
            ]
            yield batch, windows, keras.tree.map_structure(lambda *x: np.stack(x), *of_windows)
            tick()

    def _sums_before(self, maps: np.ndarray) -> np.ndarray:
        """Returns for each pixel the sum over the pixels that are earlier in order of the blocks.

        `maps` and the result are `(N, K, H, W)`.
        """
        size = maps.shape[2:]
        pixels = np.arange(np.prod(size)).reshape(size)
        blocks = [block for row in self.blocks(size) for block in row]
        order = np.concatenate([pixels[block.inside].ravel() for block in blocks])
        ordered = maps.reshape(*maps.shape[:2], -1)[..., order]
        result = np.empty(ordered.shape)
        result[..., order] = np.cumsum(ordered, -1, "float64") - ordered
        return result.reshape(maps.shape)


def _one_by_one(groups: Iterator[Group]) -> Iterator[Group]:
    """Yields single frames where maps of several classes are needed, to bound the memory."""
    for rows, candidates in groups:
        parts = np.split(np.arange(len(rows)), len(rows) if num_candidates(candidates) > 1 else 1)
        for part in parts:
            yield rows[part], taken(candidates, part)
