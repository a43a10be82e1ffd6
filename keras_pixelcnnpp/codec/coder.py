"""Images to streams by one evaluation of the model, and streams to images by the sampler's pass."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import Nest, Tensor, compiled, float64, host_function
from keras_pixelcnnpp.codec import streams
from keras_pixelcnnpp.codec.counts import TOTAL, Cumulative
from keras_pixelcnnpp.codec.exact_model import ExactModel
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.layers.evaluation import WholeImage
from keras_pixelcnnpp.layers.fixed_point import FixedPointArithmetic, as_whole_numbers
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass

# The largest number of features of one layer of the images that are evaluated at once.
MAX_FEATURES = 2_000_000


class ImageCoder:
    """Codes images, each by a stream of its own: of its label, then of its sub-pixels in order.

    Encoder and decoder compute the distribution of a sub-pixel from the same parameters of the
    network, in fixed point, the encoder for whole images.

    Args:
        exact: The model.
    """

    def __init__(self, exact: ExactModel):
        self.exact = exact
        self._parameters = compiled(self._whole_images, [])
        self._idle = []  # decoders, of which a thread needs its own

    def encode(self, levels: np.ndarray, labels: np.ndarray) -> list[bytes]:
        """The streams of images.

        Args:
            levels: uint8 `(N, height, width, channels)`.
            labels: int32 `(N,)`; zeros for an unconditional model.
        """
        shape = self.exact.image_shape
        size = shape[0] * shape[1] * max(self.exact.widest, shape[2])
        at_once = min(len(levels), max(1, MAX_FEATURES // size))
        # All parts of one size, which is compiled for: the last one is filled up.
        parts = [
            np.minimum(np.arange(start, start + at_once), len(levels) - 1)
            for start in range(0, len(levels), at_once)
        ]
        shares = [self._shares(levels[rows], labels[rows]) for rows in parts]
        starts, shares = (np.concatenate(part)[: len(levels)] for part in zip(*shares, strict=True))
        return streams.encode(starts, shares)

    def _shares(self, levels: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Start and share of the label and of each sub-pixel: two of int32 `(N, symbols)`."""
        count, *_, channels = levels.shape
        with float64():
            parameters = self._parameters(self.exact.inputs(labels) | {"levels": levels})
        parameters = ops.convert_to_numpy(parameters).reshape(-1, parameters.shape[-1])
        levels, parameters = (
            levels.reshape(-1, channels).astype("int64"),
            parameters.astype("int64"),
        )
        share = TOTAL // self.exact.num_labels
        found = []
        for channel in range(channels):
            cumulative = self.exact.counts.sub_pixel(parameters, list(levels.T[:channel]))
            own = levels[:, channel]
            below = cumulative(own)
            found.append(np.stack([below, cumulative(own + 1) - below]))
        # (2, N, pixels and channels)
        found = np.stack(found, axis=-1).reshape(2, count, -1)
        first = np.stack([labels * share, np.full(count, share)])[..., None]
        return np.concatenate([first, found], axis=-1).astype("int32")

    def _whole_images(self, inputs: dict) -> Tensor:
        image = logistic_mixture.scale_to_unit(inputs["levels"], self.exact.num_levels)
        with self.exact.weights(inputs):
            parameters = self.exact.network.call(
                image[:, None], self.exact.labels(inputs), WholeImage(FixedPointArithmetic())
            )
        return as_whole_numbers(parameters)

    def decode(
        self, coded: Sequence[bytes], batch_size: int, tick: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Levels and labels of streams, or `None` if they are not of this model.

        `tick` is called at each sub-pixel. The pass has `batch_size` images, at least as many as
        there are streams.
        """
        try:
            decoder = self._idle.pop()
        except IndexError:
            decoder = PixelDecoder(self.exact)
        found = decoder.decode(coded, batch_size, tick)
        self._idle.append(decoder)
        return found


class PixelDecoder:
    """The incremental pass of a model, in which Python reads the levels from streams."""

    def __init__(self, exact: ExactModel):
        self.exact = exact
        self._pass = IncrementalPass(exact, arithmetic=FixedPointArithmetic())
        self._run = compiled(self, [])

    def decode(
        self, coded: Sequence[bytes], batch_size: int, tick: Callable[[], None]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """See `ImageCoder.decode`."""
        exact, count = self.exact, len(coded)
        self._streams, self._tick = streams.Decoder(coded), tick
        share = TOTAL // exact.num_labels
        found = np.minimum(self._streams.slots // share, exact.num_labels - 1)
        self._streams.read(found * share, share)
        labels = np.zeros(batch_size, "int32")
        labels[:count] = found
        self._pixel, self._channel = np.zeros((count, exact.image_shape[-1]), "int64"), 0
        with float64():
            levels = ops.convert_to_numpy(self._run(exact.inputs(labels)))
        if not self._streams.is_finished:
            return None
        return levels[:count].astype("uint8"), labels[:count]

    def __call__(self, inputs: dict) -> Tensor:
        """The compiled function: levels `(batch, height, width, channels)`."""
        batch_size = ops.shape(inputs["labels"])[0]
        with self.exact.weights(inputs):
            levels, _ = self._pass.run(self.exact.labels(inputs), batch_size, self._choose)
        return ops.transpose(levels, (2, 0, 1, 3))

    def _choose(
        self, parameters: Tensor, row: Tensor, column: Tensor, carry: Nest
    ) -> tuple[Tensor, Nest]:
        whole = as_whole_numbers(ops.reshape(parameters, (-1, parameters.shape[-1])))
        shape = (whole.shape[0], self.exact.image_shape[-1])
        return host_function(self._read_pixel, whole, shape), carry

    def _read_pixel(self, parameters: np.ndarray) -> np.ndarray:
        """Reads the sub-pixels that are final at this evaluation of a pixel; the later ones are 0.

        They are the next channel, where the network sees it for those after it, or all of them.
        """
        # An array of JAX's at first, of which a slice would be a computation within this one.
        parameters, pixel = np.asarray(parameters), self._pixel
        count, channels = pixel.shape
        levels = np.zeros((len(parameters), channels), "float32")
        parameters = parameters[:count].astype("int64")
        for _ in range(channels // self.exact.network.evaluations_per_pixel):
            channel = self._channel
            cumulative = self.exact.counts.sub_pixel(parameters, list(pixel.T[:channel]))
            found, below, above = _level_at(cumulative, self._streams.slots, self.exact.num_levels)
            self._streams.read(below, above - below)
            pixel[:, channel] = found
            self._channel = (channel + 1) % channels
            self._tick()
        levels[:count] = pixel
        return levels


def _level_at(
    cumulative: Cumulative, slots: np.ndarray, num_levels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The level whose share has a slot, by bisection, and where the share begins and ends."""
    level, end = np.zeros_like(slots), np.full_like(slots, num_levels)
    below, above = np.zeros_like(slots), np.full_like(slots, TOTAL)
    for _ in range(math.ceil(math.log2(num_levels))):
        middle = (level + end) // 2
        share = cumulative(middle)
        higher = share <= slots
        level, end = np.where(higher, middle, level), np.where(higher, end, middle)
        below, above = np.where(higher, share, below), np.where(higher, above, share)
    return level, below, above
