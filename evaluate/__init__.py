"""Commands that measure and report: `pixelcnnpp evaluate ...`."""

import typer

from keras_pixelcnnpp.evaluate.classification import classification

app = typer.Typer(help="Measure a trained run.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    # With a callback, typer keeps the command's name even while there is only one.
    pass


app.command()(classification)
