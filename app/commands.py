"""The command `pixelcnnpp app`, which serves a page for the browser."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, ClassVar

from typer import Option

from keras_pixelcnnpp.commands.helpers import Commands, library, option, with_options
from keras_pixelcnnpp.commands.options import ModelOptions
from keras_pixelcnnpp.utils.errors import not_installed

app = Commands()


@dataclass(frozen=True, kw_only=True)
class AppOptions(ModelOptions):
    """Options of `app`."""

    least: ClassVar = 0

    host: str = option("Address to listen on; 0.0.0.0 for all interfaces.", "127.0.0.1")
    port: int | None = option(
        "Port to listen on. Default: the first free port from 7860 on.", min=1, max=65535
    )
    open_browser: Annotated[
        bool, Option("--open/--no-browser", help="Open the page in a browser.")
    ] = False


@app.command("app", "app --run runs/digits --open")
@with_options(AppOptions)
def launch(options: AppOptions) -> None:
    """Serve a page to sample, classify and complete images.

    Give at most one of --preset, --run and --model. Default: the preset fashion_mnist. Press Ctrl-C
    to stop the server. The page sends no data to other machines.
    """
    if find_spec("gradio") is None:
        raise not_installed("The page", "gradio")
    chosen = options if options.given else ModelOptions(preset="fashion_mnist")
    with library():
        from keras_pixelcnnpp.app.answers import Answers
        from keras_pixelcnnpp.app.page import serve
        from keras_pixelcnnpp.commands.trained_model import TrainedModel
    answers = Answers(TrainedModel.named(chosen))
    serve(answers, options.host, options.port, options.open_browser)
