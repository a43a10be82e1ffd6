"""The commands `pixelcnnpp evaluate`, one for each measurement, `all` and `report`."""

import inspect

from keras_pixelcnnpp.commands.helpers import Commands, library, with_options
from keras_pixelcnnpp.evaluate.measurements import (
    MEASUREMENTS,
    BatchOptions,
    DataOptions,
    Measurement,
)

app = Commands(help="Measure a model on images, and write the results as a page.")


def _add(measurement: Measurement) -> None:
    examples = [f"evaluate {measurement.name} {words}" for words in measurement.examples]

    @app.command(measurement.name, *examples, help=inspect.getdoc(measurement))
    @with_options(measurement.options)
    def run(options: DataOptions) -> None:
        with library():
            from keras_pixelcnnpp.evaluate.measure import measure
        measure(measurement, options)


for _measurement in MEASUREMENTS:
    _add(_measurement)


@app.command("report", "evaluate report --run runs/digits")
@with_options(DataOptions)
def report(options: DataOptions) -> None:
    """Write the results as one page, index.html.

    The page contains its images, so it can be sent as a single file. Each of the other commands
    writes the page, too.
    """
    with library():
        from keras_pixelcnnpp.evaluate import measure
    measure.report(options)


@app.command(
    "all",
    "evaluate all --run runs/digits",
    "evaluate all --preset digits --data digits --split test",
)
@with_options(BatchOptions)
def everything(options: BatchOptions) -> None:
    """Run all evaluations that apply, and write the page.

    All other options have the defaults of their commands.
    """
    with library():
        from keras_pixelcnnpp.evaluate.measure import measure_all
    measure_all(options)
