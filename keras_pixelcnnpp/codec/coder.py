"""Entropy coding in raster order: the sampler's pass, with a range coder where it samples."""

import threading
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import Nest, Tensor, Tensors, compiled, host_function, sums_in_order
from keras_pixelcnnpp.errors import not_installed
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass

try:
    import constriction
except ImportError:  # an extra: see `require_constriction`
    constriction = None

# What the probabilities of a sub-pixel's levels add up to: constriction has 24 bits for them.
TOTAL_COUNT = 2**24

# One pass at a time: its Python side is no part of the compiled function, and what `sums_in_order`
# sets is TensorFlow's for all threads.
_one_pass = threading.Lock()


def require_constriction() -> None:
    """Raises a `UserError` if the package that does the entropy coding is not installed."""
    if constriction is None:
        raise not_installed("Compressing", "constriction")


class PixelCoder:
    """Codes a batch of images, or decodes it, in one incremental pass of a model.

    Encoder and decoder are the same compiled function: at each sub-pixel it hands the
    log-probabilities of all levels to Python, which says what the levels are, be it because it
    knows the images or because it reads them from a stream. So the two see the same floats, to
    the last bit, and the sub-pixel's place in the stream needs no agreement of its own.

    Called with `{"label": int (batch,)}`, which an unconditional model doesn't look at, it returns
    uint8 levels `(batch, height, width, channels)`.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.incremental_pass = IncrementalPass(model)
        self.compiled = compiled(self, model.variables)
        # Whose turn it is in the pass that runs, which the compiled function outlives, and what is
        # known of the pixel that is traced.
        self.running = types.SimpleNamespace(turn=None, tick=None, levels=[])

    def encode(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        tick: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Codes images, uint8 levels `(count, height, width, channels)`, as one stream.

        It begins with their labels, int32 `(count,)`; zeros for an unconditional model. It is at
        most 8 bytes longer than the sum of `-log2 p`, up to rounding. The pass has `batch_size`
        images, at least `count`; the decoder needs the same. `tick` is called at each sub-pixel.
        """
        encoder = constriction.stream.queue.RangeEncoder()
        if self.model.num_classes > 1:
            encoder.encode(labels, constriction.stream.model.Uniform(self.model.num_classes))
        sub_pixels = iter(images.reshape(len(images), -1).T.astype("int32", order="C"))

        def turn(log_probs: np.ndarray) -> np.ndarray:
            levels = next(sub_pixels)
            encoder.encode(levels, _by_counts(), level_counts(log_probs[: len(levels)]))
            return levels

        self._run(turn, labels, batch_size, tick)
        return encoder.get_compressed().astype("<u4").tobytes()

    def decode(
        self,
        stream: bytes,
        count: int,
        batch_size: int,
        tick: Callable[[], None] = lambda: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the levels and labels of a stream. A wrong one gives wrong images: check them."""
        words = np.frombuffer(stream, "<u4").astype("uint32")
        decoder = constriction.stream.queue.RangeDecoder(words)

        def read(*distribution: Any) -> np.ndarray:
            try:
                return decoder.decode(*distribution)
            except AssertionError:  # this stream cannot be of these distributions
                return np.zeros(count, "int32")

        labels = np.zeros(count, "int32")
        if self.model.num_classes > 1:
            labels = read(constriction.stream.model.Uniform(self.model.num_classes), count)

        def turn(log_probs: np.ndarray) -> np.ndarray:
            return read(_by_counts(), level_counts(log_probs[:count]))

        return self._run(turn, labels, batch_size, tick)[:count], labels

    def _run(
        self,
        turn: Callable[[np.ndarray], np.ndarray],
        labels: np.ndarray,
        batch_size: int,
        tick: Callable[[], None],
    ) -> np.ndarray:
        """The pass; images that fill the batch up are all zeros and are not coded."""
        filled = np.zeros(batch_size, "int32")
        filled[: len(labels)] = labels
        with _one_pass, sums_in_order():
            self.running.turn, self.running.tick = turn, tick
            return ops.convert_to_numpy(self.compiled({"label": filled}))

    def __call__(self, inputs: Tensors) -> Tensor:
        labels = inputs["label"]
        self.running.levels = []
        levels, _ = self.incremental_pass.run(
            ops.expand_dims(labels, 1) if self.model.num_classes else None,
            labels.shape[0],
            self._choose,
        )
        return ops.cast(ops.transpose(levels, (2, 0, 1, 3)), "uint8")

    def _choose(
        self, parameters: Tensor, row: Tensor, column: Tensor, carry: Nest
    ) -> tuple[Tensor, Nest]:
        """Has the levels of one pixel coded, or those that are final of them."""
        distribution = self.model.distribution
        parameters = ops.reshape(parameters, (-1, parameters.shape[-1]))
        levels = self.running.levels
        if len(levels) == distribution.channels:
            levels.clear()
        # After each evaluation of a pixel the distribution of so many more sub-pixels is final.
        for _ in range(distribution.channels // self.model.network.evaluations_per_pixel):
            log_probs = distribution.level_log_probs(parameters, levels)
            shape = (log_probs.shape[0], 1)
            levels.append(host_function(self._turn, log_probs, shape))
        unknown = [ops.zeros_like(levels[0])] * (distribution.channels - len(levels))
        return ops.concatenate([*levels, *unknown], axis=-1), carry

    def _turn(self, log_probs: np.ndarray) -> np.ndarray:
        # An array of JAX's at first, of which a slice would be a computation within this one.
        log_probs = np.asarray(log_probs)
        levels = np.zeros((len(log_probs), 1), "float32")
        chosen = self.running.turn(log_probs)
        levels[: len(chosen), 0] = chosen
        self.running.tick()
        return levels


def _by_counts() -> Any:
    # "Perfect" would take longer and gain nothing: counts are whole already.
    return constriction.stream.model.Categorical(perfect=False)


def level_counts(log_probs: np.ndarray) -> np.ndarray:
    """Whole counts of `TOTAL_COUNT` for the levels of a sub-pixel, for each at least one.

    So no level is impossible, and a level costs 24 bits at most. A NaN counts as zero.

    Args:
        log_probs: Float32 `(batch, num_levels)`, nats.

    Returns:
        Float64 `(batch, num_levels)` of whole numbers, as constriction takes them.

    Example:

    >>> level_counts(np.log([[0.5, 0.5, 0.0]]))
    array([[8388609., 8388609.,       1.]])
    """
    probabilities = np.exp(np.asarray(log_probs, "float64"))
    return np.floor(np.nan_to_num(probabilities) * TOTAL_COUNT) + 1
