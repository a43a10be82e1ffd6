"""The command `pixelcnnpp app`, which serves a page for the browser."""

from importlib.util import find_spec
from typing import Annotated

import typer

from keras_pixelcnnpp.command import Commands, library
from keras_pixelcnnpp.errors import not_installed
from keras_pixelcnnpp.savedmodel.commands import ModelFile, ModelOptions, Preset, Run, Tiled

app = Commands()


@app.command("app", "app --run runs/digits --open")
def launch(
    preset: Preset = None,
    run: Run = None,
    model: ModelFile = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port to listen on. Default: the first free port from 7860 on."
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-browser", help="Open the page in a browser.")
    ] = False,
    tiled: Tiled = False,
) -> None:
    """Serve a page to sample, classify and complete images.

    Give at most one of --preset, --run and --model. Default: the preset fashion_mnist. Press Ctrl-C
    to stop the server. With --tiled, images are scored at their own size. The page sends no data to
    other machines.
    """
    if find_spec("gradio") is None:
        raise not_installed("The page", "gradio")
    if preset is None and run is None and model is None:
        preset = "fashion_mnist"
    options = ModelOptions(preset=preset, run=run, model=model)
    with library():
        from keras_pixelcnnpp.app.answers import Answers
        from keras_pixelcnnpp.app.page import serve
        from keras_pixelcnnpp.savedmodel.trained_model import TrainedModel
    serve(Answers(TrainedModel.named(options), tiled), host, port, open_browser)
