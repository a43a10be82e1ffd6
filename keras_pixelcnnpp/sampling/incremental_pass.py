"""One pass over a picture in raster order that computes every feature once."""

import functools

import keras
from keras import ops

from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.layers.evaluation import (
    PixelEvaluation,
    RowEvaluation,
    as_pixel,
    columns_first,
    read,
    write,
)
from keras_pixelcnnpp.layers.weight_normalized import fixed_kernels


class IncrementalPass:
    """Evaluates a model pixel by pixel, letting a caller choose each pixel as its turn comes.

    What a network sees of the rows above is computed a row at a time, the rest a pixel at a time,
    by the layers and weights of the model itself; only what reaches beyond the row or pixel comes
    from caches. Rows and columns run in loops over one period of the resolutions, whose body knows
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

    def run(self, labels, batch_size, choose, record_size):
        """Runs over the picture.

        Args:
            labels: Int tensor `(batch,)`, or `None` for an unconditional model.
            batch_size: Integer or scalar tensor.
            choose: Function `(parameters, row, column)`: parameters `(batch, num_parameters)` and
                the (traced) position. Returns a record `(batch, record_size)`, float32, whose first
                entries are the pixel's levels. Where sub-pixels see the earlier ones of their pixel
                it is asked once for each of them, the parameters of one more being right each time.
            record_size: Integer, at least the number of channels.

        Returns:
            The records, `(height, width, batch, record_size)`.
        """
        state = self.start(batch_size, record_size)

        def rows(index, state):
            return self.advance(index, state, labels, choose)

        with fixed_kernels(self.network):
            state = ops.fori_loop(0, self.height // self.period, rows, state)
        return state["records"]

    def start(self, batch_size, record_size):
        """The state before the first row: a dict of tensors, `"records"` as `run` returns them."""
        network = self.network
        return {
            "records": ops.zeros((self.height, self.width, batch_size, record_size)),
            "above": RowEvaluation.initial_cache(
                network.row_convolutions(), network.row_upsamplings, self.width, batch_size
            ),
            "left": PixelEvaluation.initial_cache(
                network.pixel_convolutions(), network.pixel_upsamplings, self.width, batch_size
            ),
        }

    def advance(self, index, state, labels, choose):
        """Runs over the rows of one period, the `index`-th; returns the state after them."""
        labels = None if labels is None else ops.expand_dims(labels, 1)
        for phase in range(self.period):
            state = self._row(index * self.period + phase, phase, state, labels, choose)
        return state

    def _row(self, row, phase, state, labels, choose):
        """Evaluates one row: what is above it at once, then pixel by pixel."""
        running = lower_levels_running(phase, self.num_resolutions)
        row_evaluation = RowEvaluation(state["above"], running, (row // self.period, None))
        above = self.network.see_above(
            self._pixels_of_row(row - 1, state["records"], labels), labels, row_evaluation
        )
        above = keras.tree.map_structure(columns_first, above)

        evaluation = PixelEvaluation(state["left"], running)
        evaluation.start_row(self.network.pixel_convolutions())
        column_period = 2**running
        batch_size = ops.shape(state["records"])[2]
        shape = (batch_size, 1, 1, 1, self._pixel_channels)
        no_pixel = ops.zeros(shape, self.network.compute_dtype)
        columns = {
            "cache": evaluation.cache,
            "pixel": no_pixel,
            "record": read(state["records"], row),
        }
        step = functools.partial(
            self._columns, row=row, running=running, above=above, labels=labels, choose=choose
        )
        columns = ops.fori_loop(0, self.width // column_period, step, columns)
        evaluation.cache = columns["cache"]
        return {
            "records": write(state["records"], row, columns["record"]),
            "above": row_evaluation.cache,
            "left": evaluation.end_row(),
        }

    def _columns(self, index, state, row, running, above, labels, choose):
        """Evaluates the pixels of one period of columns."""
        column_period = 2**running
        evaluation = PixelEvaluation(state["cache"], running)
        evaluation.width = self.width
        pixel, record = state["pixel"], state["record"]
        for phase in range(column_period):
            column = functools.partial(_column_at, index, phase, column_period)
            evaluation.at(
                column,
                lower_levels_running(phase, running + 1),
                (row // self.period, column(self.num_resolutions - 1)),
            )
            for _ in range(self.network.evaluations_per_pixel):
                parameters = self.network.see_above_left(pixel, above, labels, evaluation)
                parameters = ops.reshape(parameters, (-1, parameters.shape[-1]))
                chosen = choose(parameters, row, column(0))
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

    @property
    def _pixel_channels(self):
        stem, _ = self.network.pixel_convolutions()[0]
        return stem.direction.shape[2]


def _column_at(index, phase, period, level):
    """The column at a resolution, for phase `phase` of the period `index`."""
    return index * max(period >> level, 1) + (phase >> level)


def lower_levels_running(index, num_levels):
    """How many of the `num_levels - 1` lower resolutions run at row (or column) `index`."""
    level = 0
    while level < num_levels - 1 and index % 2 ** (level + 1) == 0:
        level += 1
    return level
