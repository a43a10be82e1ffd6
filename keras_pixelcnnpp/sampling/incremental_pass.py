"""One pass over an image in raster order that computes every feature once."""

import collections
import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.backend import Nest, Tensor, read, write
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.convolutions import fixed_kernels, normalized_kernels
from keras_pixelcnnpp.layers.evaluation import (
    HorizontalEvaluation,
    VerticalEvaluation,
    WholeImage,
    as_pixel,
    columns_first,
    take_images,
)

State = dict[str, Nest]  # of a pass, between rows or pixels: levels, caches, carry


class IncrementalPass:
    """Evaluates a model pixel by pixel, letting a caller choose each pixel as its turn comes.

    The vertical stack is evaluated a row at a time and the horizontal stack a pixel at a time, by
    the layers and weights of the model itself; only inputs from beyond the row or pixel come from
    caches. Rows and columns run in loops over one period of the resolutions, whose body knows
    which resolutions run where, so that no work is done and thrown away.

    Args:
        model: An `AutoregressiveModel`.
        candidates: Integer, how many labels each image is evaluated under, side by side.
        arithmetic: How the network's layers and nonlinearities are computed.
    """

    def __init__(
        self,
        model: keras.Model,
        candidates: int = 1,
        arithmetic: FloatArithmetic = FloatArithmetic(),
    ):
        self.network = model.network
        self.arithmetic = arithmetic
        self.height, self.width, self.channels = model.image_shape
        self.num_levels = model.num_levels
        self.num_resolutions = model.network.num_resolutions
        self.period = 2 ** (self.num_resolutions - 1)
        convolutions = model.network.horizontal_convolutions()
        self.levels = {layer.path: level for layer, level in convolutions}
        self.stem, _ = convolutions[0]
        self.candidates = self._candidates(candidates)
        self.programs = {}

    def run(
        self,
        labels: Tensor | None,
        batch_size: int | Tensor,
        choose: Callable[..., tuple[Tensor, Nest]],
        given: Nest = (),
        carry: Nest = (),
        after_row: Callable[..., tuple[Nest, Tensor]] | None = None,
    ) -> tuple[Tensor, Nest]:
        """Runs over the image.

        Args:
            labels: Int tensor `(batch, candidates)`, or `None` for an unconditional model.
            batch_size: Integer or scalar tensor.
            choose: Function `(parameters, row, column, carry, *given)`: parameters `(batch,
                candidates, 1, 1, num_parameters)` and the (traced) position. Returns the pixel's
                levels `(batch, channels)`, float32, and the new `carry`. Where sub-pixels see the
                earlier ones of their pixel it is asked once for each of them, the parameters of
                one more being right each time; the last `carry` is kept.
            given: Further arguments of `choose`, tensors and nests of them. Those that it has from
                elsewhere are constants to torch, as is whatever else it looks at; one that is asked
                for many images should be the same function each time.
            carry: A nest of tensors that goes from pixel to pixel, their first axis the batch.
            after_row: Optional function `(row, carry, *given)` that returns the new `carry`, and
                int `(batch,)`: the image of the batch that each one is replaced by.

        Returns:
            The levels `(height, width, batch, channels)`, and the last `carry`.
        """
        given = {
            "labels": labels,
            "kernels": normalized_kernels(self.network),
            "choose": given,
        }
        steps = self._steps((choose, after_row), given)

        def rows(index: Tensor, state: State) -> State:
            for phase in range(self.period):
                row = ops.cast(index, "int32") * self.period + phase
                state = self._row(phase, row, state, steps)
            return state

        state = self._start(batch_size, carry)
        state = ops.fori_loop(0, self.height // self.period, rows, state)
        return state["levels"], state["carry"]

    def _steps(self, functions: tuple[Callable, Callable | None], given: State) -> Any:
        if keras.backend.backend() != "torch":
            return Steps(functions, given)
        # Here: torch is there under its own backend only.
        from keras_pixelcnnpp.sampling.torch_program import RecordedSteps

        return RecordedSteps(functions, given, self.programs)

    def _candidates(self, count: int) -> dict[str, int]:
        """How many labels the input of each layer has, by its path, where an image has `count`."""
        if count == 1:
            return collections.defaultdict(lambda: 1)
        counting = CountCandidates(self.network)
        image = keras.KerasTensor((1, 1, self.height, self.width, self.channels))
        counting(image, keras.KerasTensor((1, count), "int32"))
        return counting.arithmetic.counts

    def _start(self, batch_size: int | Tensor, carry: Nest) -> State:
        """The state before the first row."""
        network, candidates = self.network, self.candidates
        shape = (self.height, self.width, batch_size, self.channels)
        return {
            "levels": ops.zeros(shape, "float32"),
            "carry": carry,
            "vertical": VerticalEvaluation.initial_cache(
                network.vertical_convolutions(),
                network.vertical_upsamplings,
                self.width,
                batch_size,
                candidates,
                self.arithmetic,
            ),
            "horizontal": HorizontalEvaluation.initial_cache(
                network.horizontal_convolutions(),
                network.horizontal_upsamplings,
                self.width,
                batch_size,
                candidates,
                self.arithmetic,
            ),
        }

    def _row(self, phase: int, row: Tensor, state: State, steps: "Steps") -> State:
        """The state after a row, the `phase`-th of its period."""
        running = lower_levels_running(phase, self.num_resolutions)
        state, vertical, columns = steps.once(self._start_row, running, row, state)
        columns = steps.repeat(
            self._columns, running, self.width // 2**running, columns, row, vertical
        )
        return steps.once(self._end_row, running, row, state, columns)

    def _start_row(
        self, running: int, row: Tensor, state: State, steps: "Steps"
    ) -> tuple[State, Nest, State]:
        """Evaluates the vertical stack at a row; returns what its pixels need."""
        labels = steps.given["labels"]
        position = (row // self.period, None)
        evaluation = VerticalEvaluation(state["vertical"], running, position, self.arithmetic)
        pixels = self._pixels_of_row(row - 1, state["levels"], labels)
        with fixed_kernels(steps.given["kernels"]):
            vertical = self.network.call_vertical_stack(pixels, labels, evaluation)
        cache = HorizontalEvaluation.start_row(
            state["horizontal"],
            self.network.horizontal_convolutions(),
            self.candidates,
            self.arithmetic,
        )
        columns = {
            "cache": cache,
            "pixel": ops.zeros_like(pixels[..., :1, :]),
            "levels": read(state["levels"], row),
            "carry": state["carry"],
        }
        state = {"levels": state["levels"], "vertical": evaluation.cache}
        return state, keras.tree.map_structure(columns_first, vertical), columns

    def _end_row(
        self, running: int, row: Tensor, state: State, columns: State, steps: "Steps"
    ) -> State:
        """The state after a row, from that of its pixels."""
        state = {
            "levels": write(state["levels"], row, columns["levels"]),
            "vertical": state["vertical"],
            "horizontal": HorizontalEvaluation.end_row(columns["cache"]),
        }
        if steps.after_row is None:
            return {**state, "carry": columns["carry"]}
        carry, images = steps.after_row(row, columns["carry"], *steps.given["choose"])
        return {
            "levels": take_images(state["levels"], images, axis=2),
            "carry": carry,
            "vertical": VerticalEvaluation.of_images(state["vertical"], images),
            "horizontal": HorizontalEvaluation.of_images(state["horizontal"], images),
        }

    def _columns(
        self, running: int, index: Tensor, state: State, row: Tensor, vertical: Nest, steps: "Steps"
    ) -> State:
        """Evaluates the pixels of one period of columns."""
        labels = steps.given["labels"]
        column_period = 2**running
        evaluation = HorizontalEvaluation(state["cache"], self.levels, running, self.arithmetic)
        pixel, levels, carry = state["pixel"], state["levels"], state["carry"]
        for phase in range(column_period):
            column = functools.cache(functools.partial(_column_at, index, phase, column_period))
            evaluation.at(
                column,
                lower_levels_running(phase, running + 1),
                (row // self.period, column(self.num_resolutions - 1)),
            )
            for _ in range(self.network.evaluations_per_pixel):
                with fixed_kernels(steps.given["kernels"]):
                    parameters = self.network.call_horizontal_stack(
                        pixel, vertical, labels, evaluation
                    )
                chosen, next_carry = steps.choose(
                    parameters, row, column(0), carry, *steps.given["choose"]
                )
                pixel = self._pixels(as_pixel(chosen[:, None]), labels)
            carry = next_carry
            evaluation.remember(self.stem, pixel)
            levels = write(levels, column(0), chosen)
        return {"cache": evaluation.cache, "pixel": pixel, "levels": levels, "carry": carry}

    def _pixels(self, levels: Tensor, labels: Tensor | None) -> Tensor:
        image = logistic_mixture.scale_to_unit(levels, self.num_levels)
        return self.network.to_pixels(image, labels, WholeImage(self.arithmetic))

    def _pixels_of_row(self, row: Tensor, levels: Tensor, labels: Tensor | None) -> Tensor:
        """A finished row as the network's input; before the first, zeros as in the padding."""
        levels = read(levels, ops.maximum(row, 0))
        levels = ops.transpose(levels, (1, 0, 2))[:, None, None]
        pixels = self._pixels(levels, labels)
        return pixels * ops.cast(row >= 0, pixels.dtype)


class CandidateCounts(FloatArithmetic):
    """Floating point that notes how many labels the input of each layer has, by its path."""

    def __init__(self) -> None:
        self.counts = {}

    def apply(self, layer: keras.layers.Layer, x: Tensor, *inputs: Any, **arguments: Any) -> Any:
        self.counts[layer.path] = x.shape[1]
        return super().apply(layer, x, *inputs, **arguments)


class CountCandidates(keras.layers.Layer):
    """Calls a network, also without numbers, to count the labels of each layer's input."""

    def __init__(self, network: keras.layers.Layer):
        super().__init__()
        self.arithmetic = CandidateCounts()
        self._function = network.call

    def call(self, image: Tensor, labels: Tensor) -> Tensor:
        return self._function(image, labels, WholeImage(self.arithmetic))


class Steps:
    """How the functions of a pass are run, and what is the same for all of them: see `run`."""

    def __init__(self, functions: tuple[Callable, Callable | None], given: State):
        self.choose, self.after_row = functions
        self.given = given

    def once(self, function: Callable, running: int, *tensors: Nest) -> Nest:
        """`function(running, *tensors, steps)`."""
        return function(running, *tensors, self)

    def repeat(
        self, function: Callable, running: int, count: int, state: Nest, *tensors: Nest
    ) -> Nest:
        """`state` after `function(running, index, state, *tensors, steps)` for `count` indices."""

        def step(index: Tensor, state: Nest) -> Nest:
            # Where TensorFlow runs eagerly it is Python's, and no layer takes a tensor and that.
            return function(running, ops.cast(index, "int32"), state, *tensors, self)

        return ops.fori_loop(0, count, step, state)


def _column_at(index: Tensor, phase: int, period: int, level: int) -> Tensor:
    """The column at a resolution, for phase `phase` of the period `index`."""
    step, start = max(period >> level, 1), phase >> level
    column = index if step == 1 else index * step
    return column + start if start else column


def lower_levels_running(index: int, num_levels: int) -> int:
    """How many of the `num_levels - 1` lower resolutions run at row (or column) `index`."""
    level = 0
    while level < num_levels - 1 and index % 2 ** (level + 1) == 0:
        level += 1
    return level
