"""Evaluates a model in raster order, one pixel at a time, and computes each feature once."""

import collections
import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.backend import Nest, Tensor, read, write
from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.convolutions import fixed_kernels, normalized_kernels
from keras_pixelcnnpp.layers.evaluation import (
    Evaluation,
    HorizontalEvaluation,
    VerticalEvaluation,
    as_pixel,
    columns_first,
    take_images,
)

State = dict[str, Nest]  # levels, caches and carry of a pass between two rows or pixels


class IncrementalPass:
    """Evaluates a model pixel by pixel; a callback chooses the value of each pixel in turn.

    The vertical stack is evaluated row by row, and the horizontal stack pixel by pixel, with the
    model's own layers. Inputs from earlier rows and pixels come from caches. The loop body covers
    one period of the resolutions, so it is known which lower resolutions are evaluated at each row
    and column, and none is evaluated in vain.

    Args:
        model: An `AutoregressiveModel`.
        candidates: Integer, number of labels under which each image is evaluated.
        arithmetic: Arithmetic of the network's layers and nonlinearities.
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
        """Runs over all pixels of a batch of images.

        Args:
            labels: Int tensor `(batch, candidates)`, or `None` for an unconditional model.
            batch_size: Integer or scalar tensor.
            choose: Function `(parameters, row, column, carry, *given)`, called with the parameters
                `(batch, candidates, 1, 1, num_parameters)` of a pixel and its (traced) position. It
                returns the pixel's levels `(batch, channels)`, float32, and the new `carry`.
                Networks with channel groups call it once for each sub-pixel of a pixel: the n-th
                call has valid parameters for the first n sub-pixels, and the last `carry` is kept.
            given: Tensors, or nests of tensors, that are passed to `choose` and `after_row`. Under
                torch, all other values that these functions use are recorded as constants. Pass
                the same functions each time, so that the recording is used again.
            carry: Nest of tensors with the batch as their first axis, passed from pixel to pixel.
            after_row: Optional function `(row, carry, *given)`. It returns the new `carry`, and int
                `(batch,)`, the index of the image that replaces each image.

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
        # Imported late, because torch may not be installed under another backend.
        from keras_pixelcnnpp.sampling.torch_program import RecordedSteps

        return RecordedSteps(functions, given, self.programs)

    def _candidates(self, count: int) -> dict[str, int]:
        """Returns the length of the candidate axis of each layer's input, by the layer's path."""
        if count == 1:
            return collections.defaultdict(lambda: 1)
        counting = CountCandidates(self.network)
        image = keras.KerasTensor((1, 1, self.height, self.width, self.channels))
        counting(image, keras.KerasTensor((1, count), "int32"))
        return counting.arithmetic.counts

    def _start(self, batch_size: int | Tensor, carry: Nest) -> State:
        """Returns the state before the first row."""
        shape = (self.height, self.width, batch_size, self.channels)
        of_pass = (self.network, self.width, batch_size, self.candidates, self.arithmetic)
        return {
            "levels": ops.zeros(shape, "float32"),
            "carry": carry,
            "vertical": VerticalEvaluation.initial_cache(*of_pass),
            "horizontal": HorizontalEvaluation.initial_cache(*of_pass),
        }

    def _row(self, phase: int, row: Tensor, state: State, steps: "Steps") -> State:
        """Evaluates a row, which is number `phase` of its period, and returns the new state."""
        running = lower_levels_running(phase, self.num_resolutions)
        state, vertical, columns = steps.once(self._start_row, running, row, state)
        columns = steps.repeat(
            self._columns, running, self.width // 2**running, columns, row, vertical
        )
        return steps.once(self._end_row, running, row, state, columns)

    def _start_row(
        self, running: int, row: Tensor, state: State, steps: "Steps"
    ) -> tuple[State, Nest, State]:
        """Evaluates the vertical stack. Returns the state, the features and the columns' state."""
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
        """Returns the state after a row, given the state after its last column."""
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
        image = self.arithmetic.scale_to_unit(levels, self.num_levels)
        return self.network.to_pixels(image, labels, Evaluation(self.arithmetic))

    def _pixels_of_row(self, row: Tensor, levels: Tensor, labels: Tensor | None) -> Tensor:
        """Returns a finished row as the network's input; zeros (padding) before the first row."""
        levels = read(levels, ops.maximum(row, 0))
        levels = ops.transpose(levels, (1, 0, 2))[:, None, None]
        pixels = self._pixels(levels, labels)
        return pixels * ops.cast(row >= 0, pixels.dtype)


class CandidateCounts(FloatArithmetic):
    """Arithmetic that records the length of the candidate axis of each layer's input."""

    def __init__(self) -> None:
        self.counts = {}

    def apply(self, layer: keras.layers.Layer, x: Tensor, *inputs: Any, **arguments: Any) -> Any:
        self.counts[layer.path] = x.shape[1]
        return super().apply(layer, x, *inputs, **arguments)


class CountCandidates(keras.layers.Layer):
    """Calls a network, usually symbolically, to record the candidates of each layer's input."""

    def __init__(self, network: keras.layers.Layer):
        super().__init__()
        self.arithmetic = CandidateCounts()
        self._function = network.call

    def call(self, image: Tensor, labels: Tensor) -> Tensor:
        return self._function(image, labels, Evaluation(self.arithmetic))


class Steps:
    """Runs the functions of a pass, and contains its callbacks and inputs; see `run`."""

    def __init__(self, functions: tuple[Callable, Callable | None], given: State):
        self.choose, self.after_row = functions
        self.given = given

    def once(self, function: Callable, running: int, *tensors: Nest) -> Nest:
        """Returns `function(running, *tensors, steps)`."""
        return function(running, *tensors, self)

    def repeat(
        self, function: Callable, running: int, count: int, state: Nest, *tensors: Nest
    ) -> Nest:
        """Applies `function(running, index, state, *tensors, steps)` to the state `count` times."""

        def step(index: Tensor, state: Nest) -> Nest:
            # In eager TensorFlow the index is a Python integer, which layers can't take.
            return function(running, ops.cast(index, "int32"), state, *tensors, self)

        return ops.fori_loop(0, count, step, state)


def _column_at(index: Tensor, phase: int, period: int, level: int) -> Tensor:
    """Returns the column at resolution `level` for column `phase` of period `index`."""
    step, start = max(period >> level, 1), phase >> level
    column = index if step == 1 else index * step
    return column + start if start else column


def lower_levels_running(index: int, num_levels: int) -> int:
    """Returns how many of the `num_levels - 1` lower resolutions are evaluated at `index`."""
    level = 0
    while level < num_levels - 1 and index % 2 ** (level + 1) == 0:
        level += 1
    return level
