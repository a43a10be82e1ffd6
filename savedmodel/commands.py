"""The commands that export a model of a run, and serve it."""

from pathlib import Path
from typing import Annotated

from typer import Option

from keras_pixelcnnpp.commands.helpers import Commands, library

app = Commands()


@app.command("export", "export --run runs/digits")
def export(
    run: Annotated[Path, Option(help="Run folder.")],
    version: Annotated[int, Option(min=1, help="Version number, which names the folder.")] = 1,
) -> None:
    """Export the model of a run as a SavedModel.

    The SavedModel is written to savedmodel/1 in the run folder, and works without this package. The
    command needs TensorFlow, but the model may have been trained under JAX or torch.
    """
    with library():
        from keras_pixelcnnpp.savedmodel.serving import export_run
    export_run(run, version)


@app.command("serve", "serve --run runs/digits --port 8501")
def serve(
    run: Annotated[Path, Option(help="Run folder with an exported SavedModel.")],
    port: Annotated[int, Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    host: Annotated[
        str, Option(help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    name: Annotated[
        str, Option(help="Name of the model in the URL /v1/models/NAME:predict.")
    ] = "pixelcnnpp",
) -> None:
    """Serve the exported model of a run with KServe.

    The server uses the REST protocol of TensorFlow Serving. Press Ctrl-C to stop it.
    """
    with library():
        from keras_pixelcnnpp.savedmodel import serving
    serving.serve(run, name, host, port)
