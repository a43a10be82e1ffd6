"""Commands that measure and report: `pixelcnnpp evaluate ...`."""

import typer

from keras_pixelcnnpp.evaluate.classification import classification
from keras_pixelcnnpp.evaluate.evidence import evidence
from keras_pixelcnnpp.evaluate.foreign import foreign
from keras_pixelcnnpp.evaluate.generation import generation
from keras_pixelcnnpp.evaluate.receptive_field import receptive_field
from keras_pixelcnnpp.evaluate.report import report

app = typer.Typer(help="Measure a trained run.", no_args_is_help=True)

app.command()(classification)
app.command()(evidence)
app.command()(foreign)
app.command()(generation)
app.command()(receptive_field)
app.command()(report)
