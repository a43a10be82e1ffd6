"""Commands that call `model.fit`: `pixelcnnpp train ...`."""

import typer

from keras_pixelcnnpp.train.baseline import baseline
from keras_pixelcnnpp.train.fusion import fusion
from keras_pixelcnnpp.train.pixelcnnpp import pixelcnnpp

app = typer.Typer(help="Train a model into a run folder.", no_args_is_help=True)
app.command()(pixelcnnpp)
app.command()(baseline)
app.command()(fusion)
