"""Evaluates a model in raster order, one pixel at a time, and computes each feature once."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.conditions import Values
from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.evaluation import (
    Evaluation,
    HorizontalEvaluation,
    VerticalEvaluation,
    as_pixel,
    columns_first,
    take_images,
)
from keras_pixelcnnpp.sampling.model import EvaluatedModel
from keras_pixelcnnpp.sampling.structure import Structure
from keras_pixelcnnpp.utils.backend import Nest, Tensor
from keras_pixelcnnpp.utils.indexing import read, write

State = dict[str, Nest]  # levels, caches and carry of a pass between two rows or pixels


class IncrementalPass:
    """Evaluates a model pixel by pixel; a callback chooses the value of each pixel in turn.

    The vertical stack is evaluated row by row, and the horizontal stack pixel by pixel, with the
    model's own layers. Inputs from earlier rows and pixels come from caches. The loop body covers
    one period of the resolutions, so it is known which lower resolutions are evaluated at each row
    and column, and none is evaluated in vain.

    Args:
        model: An `AutoregressiveModel`.
        candidates: Integer, number of values under which each image is evaluated.
        arithmetic: Arithmetic of the network's layers and nonlinearities.

    Raises:
        UserError: If the network can't be evaluated pixel by pixel.
    """

    def __init__(
        self,
        model: EvaluatedModel,
        candidates: int = 1,
        arithmetic: FloatArithmetic = FloatArithmetic(),
    ):
        self.network = model.network
        self.arithmetic = arithmetic
        self.height, self.width, self.channels = model.image_shape
        self.structure = Structure(model.network, model.image_shape, candidates)
        self.programs = {}

    def run(
        self,
        values: Values,
        batch_size: int | Tensor,
        choose: Callable[..., tuple[Tensor, Nest]],
        given: Nest = (),
        carry: Nest = (),
        after_row: Callable[..., tuple[Nest, Tensor]] | None = None,
        kernels: dict[str, tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Nest]:
        """Runs over all pixels of a batch of images.

        Args:
            values: Values of the condition, `(batch, candidates, ...)`, by the names of its parts.
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
            kernels: Kernels and biases of the layers, by path; by default those of the network.

        Returns:
            The levels `(height, width, batch, channels)`, and the last `carry`.
        """
        given = {
            "condition": self.network.encoder(values),
            "kernels": kernels or self.structure.kernels(),
            "choose": given,
        }
        steps = self._steps((choose, after_row), given)
        resolutions = self.structure.num_resolutions
        period = 2 ** (resolutions - 1)

        def rows(index: Tensor, state: State) -> State:
            for phase in range(period):
                row = ops.cast(index, "int32") * period + phase
                num_lower = lower_resolutions_at(phase, resolutions)
                state, vertical, columns = steps.call(self._start_row, num_lower, row, state)
                count = self.width // 2**num_lower
                columns = steps.repeat(self._columns, num_lower, count, columns, row, vertical)
                state = steps.call(self._end_row, num_lower, row, state, columns)
            return state

        state = self._start(batch_size, carry)
        state = ops.fori_loop(0, self.height // period, rows, state)
        return state["levels"], state["carry"]

    def _steps(self, functions: tuple[Callable, Callable | None], given: State) -> Any:
        if keras.backend.backend() != "torch":
            return Steps(functions, given)
        # Imported late, because torch may not be installed under another backend.
        from keras_pixelcnnpp.sampling.torch_program import RecordedSteps

        return RecordedSteps(functions, given, self.programs)

    def _start(self, batch_size: int | Tensor, carry: Nest) -> State:
        """Returns the state before the first row."""
        shape = (self.height, self.width, batch_size, self.channels)
        size = self.width, batch_size, self.arithmetic
        return {
            "levels": ops.zeros(shape, "float32"),
            "carry": carry,
            "vertical": VerticalEvaluation.initial_cache(self.structure.vertical, *size),
            "horizontal": HorizontalEvaluation.initial_cache(self.structure.horizontal, *size),
        }

    def _start_row(
        self, num_lower: int, row: Tensor, state: State, steps: "Steps"
    ) -> tuple[State, Nest, State]:
        """Evaluates the vertical stack. Returns the state, the features and the columns' state."""
        # 1. The row above, as the network's input; zeros (padding) before the first row.
        condition, above = steps.given["condition"], ops.maximum(row - 1, 0)
        levels = ops.transpose(read(state["levels"], above), (1, 0, 2))[:, None, None]
        evaluation = Evaluation(self.arithmetic, condition, (above, None))
        pixels = self.network.to_pixels(levels, evaluation)
        pixels = pixels * ops.cast(row - 1 >= 0, pixels.dtype)
        # 2. The vertical stack's features of this row.
        arithmetic = self.arithmetic.with_kernels(steps.given["kernels"])
        evaluation = VerticalEvaluation(state["vertical"], row, num_lower, arithmetic, condition)
        vertical = self.network.call_vertical_stack(pixels, evaluation)
        # 3. The state before the first column.
        how = self.structure.horizontal, num_lower, self.arithmetic
        columns = {
            "cache": HorizontalEvaluation.start_row(state["horizontal"], *how),
            "pixel": ops.zeros_like(pixels[..., :1, :]),
            "levels": read(state["levels"], row),
            "carry": state["carry"],
        }
        state = {"levels": state["levels"], "vertical": evaluation.cache}
        return state, keras.tree.map_structure(columns_first, vertical), columns

    def _columns(
        self,
        num_lower: int,
        index: Tensor,
        state: State,
        row: Tensor,
        vertical: Nest,
        steps: "Steps",
    ) -> State:
        """Evaluates the pixels of one period of columns."""
        condition, period = steps.given["condition"], 2**num_lower
        arithmetic = self.arithmetic.with_kernels(steps.given["kernels"])
        here = state["cache"], row, num_lower, arithmetic, condition
        evaluation = HorizontalEvaluation(self.structure.horizontal, *here)
        pixel, levels, carry = state["pixel"], state["levels"], state["carry"]
        for phase in range(period):
            column = functools.cache(functools.partial(_column_at, index, phase, period))
            evaluation.at(column, lower_resolutions_at(phase, num_lower + 1))
            for _ in range(self.network.evaluations_per_pixel):
                # 1. The parameters of this pixel, from the pixel on its left and the cache.
                parameters = self.network.call_horizontal_stack(pixel, vertical, evaluation)
                # 2. The value of this pixel, or of its next sub-pixel.
                chosen, next_carry = steps.choose(
                    parameters, row, column(0), carry, *steps.given["choose"]
                )
                pixel = self.network.to_pixels(as_pixel(chosen[:, None]), evaluation)
            # 3. What the next pixels need.
            carry = next_carry
            evaluation.end_pixel(pixel)
            levels = write(levels, column(0), chosen)
        return {"cache": evaluation.cache, "pixel": pixel, "levels": levels, "carry": carry}

    def _end_row(
        self, num_lower: int, row: Tensor, state: State, columns: State, steps: "Steps"
    ) -> State:
        """Returns the state after a row, given the state after its last column."""
        how = self.structure.horizontal, num_lower, self.arithmetic
        cache = HorizontalEvaluation.end_row(columns["cache"], *how)
        levels, vertical = write(state["levels"], row, columns["levels"]), state["vertical"]
        carry = columns["carry"]
        if steps.after_row is not None:
            carry, chosen = steps.after_row(row, carry, *steps.given["choose"])
            levels = take_images(levels, chosen, axis=2)
            vertical = VerticalEvaluation.take(vertical, chosen)
            cache = HorizontalEvaluation.take(cache, chosen)
        return {"levels": levels, "carry": carry, "vertical": vertical, "horizontal": cache}


class Steps:
    """Runs the functions of a pass, and contains its callbacks and inputs; see `run`."""

    def __init__(self, functions: tuple[Callable, Callable | None], given: State):
        self.choose, self.after_row = functions
        self.given = given

    def call(self, function: Callable, num_lower: int, *tensors: Nest) -> Nest:
        """Returns `function(num_lower, *tensors, steps)`."""
        return function(num_lower, *tensors, self)

    def repeat(
        self, function: Callable, num_lower: int, count: int, state: Nest, *tensors: Nest
    ) -> Nest:
        """Applies `function(num_lower, index, state, *tensors, steps)` `count` times."""

        def step(index: Tensor, state: Nest) -> Nest:
            # In eager TensorFlow the index is a Python integer, which layers can't take.
            return function(num_lower, ops.cast(index, "int32"), state, *tensors, self)

        return ops.fori_loop(0, count, step, state)


def _column_at(index: Tensor, phase: int, period: int, resolution: int) -> Tensor:
    """Returns the column at a resolution for column `phase` of period `index`."""
    step, start = max(period >> resolution, 1), phase >> resolution
    column = index if step == 1 else index * step
    return column + start if start else column


def lower_resolutions_at(index: int, num_resolutions: int) -> int:
    """Returns how many of the `num_resolutions - 1` lower ones are evaluated at row `index`."""
    count = 0
    while count < num_resolutions - 1 and index % 2 ** (count + 1) == 0:
        count += 1
    return count
