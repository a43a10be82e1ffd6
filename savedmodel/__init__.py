"""Export, and use of what was exported: `pixelcnnpp savedmodel ...`."""

import typer

from keras_pixelcnnpp.savedmodel.classify import classify
from keras_pixelcnnpp.savedmodel.export import export
from keras_pixelcnnpp.savedmodel.sample import sample
from keras_pixelcnnpp.savedmodel.score import score
from keras_pixelcnnpp.savedmodel.serve import serve

app = typer.Typer(help="Export a trained model as a SavedModel, and use one.", no_args_is_help=True)
app.command()(export)
app.command()(classify)
app.command()(score)
app.command()(sample)
app.command()(serve)
