"""One pass over an image in raster order that computes every feature once."""

import functools

import keras
from keras import ops

from keras_pixelcnnpp.backend import read, write
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.layers.convolutions import fixed_kernels, normalized_kernels
from keras_pixelcnnpp.layers.evaluation import (
    HorizontalEvaluation,
    VerticalEvaluation,
    as_pixel,
    columns_first,
)


class IncrementalPass:
    """Evaluates a model pixel by pixel, letting a caller choose each pixel as its turn comes.

    The vertical stack is evaluated a row at a time and the horizontal stack a pixel at a time, by
    the layers and weights of the model itself; only inputs from beyond the row or pixel come from
    caches. Rows and columns run in loops over one period of the resolutions, whose body knows
    which resolutions run where, so that no work is done and thrown away.

    Args:
        model: An `AutoregressiveModel`.
    """

    def __init__(self, model):
        self.network = model.network
        self.height, self.width, self.channels = model.image_shape
        self.num_levels = model.num_levels
        self.num_resolutions = model.network.num_resolutions
        self.period = 2 ** (self.num_resolutions - 1)
        convolutions = model.network.horizontal_convolutions()
        self.levels = {layer.path: level for layer, level in convolutions}
        self.programs = {}

    def run(self, labels, batch_size, choose, record_size, given=()):
        """Runs over the image.

        Args:
            labels: Int tensor `(batch,)`, or `None` for an unconditional model.
            batch_size: Integer or scalar tensor.
            choose: Function `(parameters, row, column)`: parameters `(batch, num_parameters)` and
                the (traced) position. Returns a record `(batch, record_size)`, float32, whose first
                entries are the pixel's levels. Where sub-pixels see the earlier ones of their pixel
                it is asked once for each of them, the parameters of one more being right each time.
            record_size: Integer, at least the number of channels.
            given: Further arguments of `choose`, tensors and nests of them. Those that it has from
                elsewhere are constants to torch, as is whatever else it looks at; one that is asked
                for many images should be the same function each time.

        Returns:
            The records, `(height, width, batch, record_size)`.
        """
        given = {
            "labels": None if labels is None else ops.expand_dims(labels, 1),
            "kernels": normalized_kernels(self.network),
            "choose": given,
        }
        steps = self._steps(choose, given)

        def rows(index, state):
            for phase in range(self.period):
                row = ops.cast(index, "int32") * self.period + phase
                state = self._row(phase, row, state, steps)
            return state

        state = self._start(batch_size, record_size)
        return ops.fori_loop(0, self.height // self.period, rows, state)["records"]

    def _steps(self, choose, given):
        if keras.backend.backend() != "torch":
            return Steps(choose, given)
        # Here: torch is there under its own backend only.
        from keras_pixelcnnpp.sampling.torch_program import RecordedSteps

        return RecordedSteps(choose, given, self.programs)

    def _start(self, batch_size, record_size):
        """The state before the first row."""
        network = self.network
        return {
            "records": ops.zeros((self.height, self.width, batch_size, record_size), "float32"),
            "vertical": VerticalEvaluation.initial_cache(
                network.vertical_convolutions(),
                network.vertical_upsamplings,
                self.width,
                batch_size,
            ),
            "horizontal": HorizontalEvaluation.initial_cache(
                network.horizontal_convolutions(),
                network.horizontal_upsamplings,
                self.width,
                batch_size,
            ),
        }

    def _row(self, phase, row, state, steps):
        """The state after a row, the `phase`-th of its period."""
        running = lower_levels_running(phase, self.num_resolutions)
        state, vertical, columns = steps.once(self._start_row, running, row, state)
        columns = steps.repeat(
            self._columns, running, self.width // 2**running, columns, row, vertical
        )
        return steps.once(self._end_row, running, row, state, columns)

    def _start_row(self, running, row, state, steps):
        """Evaluates the vertical stack at a row; returns what its pixels need."""
        labels = steps.given["labels"]
        evaluation = VerticalEvaluation(state["vertical"], running, (row // self.period, None))
        pixels = self._pixels_of_row(row - 1, state["records"], labels)
        with fixed_kernels(steps.given["kernels"]):
            vertical = self.network.call_vertical_stack(pixels, labels, evaluation)
        convolutions = self.network.horizontal_convolutions()
        stem, _ = convolutions[0]
        shape = (ops.shape(state["records"])[2], 1, 1, 1, stem.direction.shape[2])
        columns = {
            "cache": HorizontalEvaluation.start_row(state["horizontal"], convolutions),
            "pixel": ops.zeros(shape, self.network.compute_dtype),
            "record": read(state["records"], row),
        }
        state = {"records": state["records"], "vertical": evaluation.cache}
        return state, keras.tree.map_structure(columns_first, vertical), columns

    def _end_row(self, running, row, state, columns, steps):
        """The state after a row, from that of its pixels."""
        return {
            "records": write(state["records"], row, columns["record"]),
            "vertical": state["vertical"],
            "horizontal": HorizontalEvaluation.end_row(columns["cache"]),
        }

    def _columns(self, running, index, state, row, vertical, steps):
        """Evaluates the pixels of one period of columns."""
        labels = steps.given["labels"]
        column_period = 2**running
        evaluation = HorizontalEvaluation(state["cache"], self.levels, running)
        pixel, record = state["pixel"], state["record"]
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
                parameters = ops.reshape(parameters, (-1, parameters.shape[-1]))
                chosen = steps.choose(parameters, row, column(0), *steps.given["choose"])
                pixel = self._pixels(as_pixel(chosen[:, : self.channels]), labels)
            self.network.remember(pixel, evaluation)
            record = write(record, column(0), chosen)
        return {"cache": evaluation.cache, "pixel": pixel, "record": record}

    def _pixels(self, levels, labels):
        image = logistic_mixture.scale_to_unit(levels, self.num_levels)
        return self.network.to_pixels(image, labels)

    def _pixels_of_row(self, row, records, labels):
        """A finished row as the network's input; before the first, zeros as in the padding."""
        levels = read(records, ops.maximum(row, 0))[..., : self.channels]
        levels = ops.transpose(levels, (1, 0, 2))[:, None, None]
        return self._pixels(levels, labels) * ops.cast(row >= 0, self.network.compute_dtype)


class Steps:
    """How the functions of a pass are run, and what is the same for all of them: see `run`."""

    def __init__(self, choose, given):
        self.choose = choose
        self.given = given

    def once(self, function, running, *tensors):
        """`function(running, *tensors, steps)`."""
        return function(running, *tensors, self)

    def repeat(self, function, running, count, state, *tensors):
        """`state` after `function(running, index, state, *tensors, steps)` for `count` indices."""

        def step(index, state):
            # Where TensorFlow runs eagerly it is Python's, and no layer takes a tensor and that.
            return function(running, ops.cast(index, "int32"), state, *tensors, self)

        return ops.fori_loop(0, count, step, state)


def _column_at(index, phase, period, level):
    """The column at a resolution, for phase `phase` of the period `index`."""
    step, start = max(period >> level, 1), phase >> level
    column = index if step == 1 else index * step
    return column + start if start else column


def lower_levels_running(index, num_levels):
    """How many of the `num_levels - 1` lower resolutions run at row (or column) `index`."""
    level = 0
    while level < num_levels - 1 and index % 2 ** (level + 1) == 0:
        level += 1
    return level
