"""`pixelcnnpp savedmodel serve`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def serve(
    savedmodel: Annotated[Path, typer.Argument(help="runs/NAME/savedmodel, or one version in it.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8501,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is every one.")
    ] = "127.0.0.1",
    name: Annotated[str, typer.Option(help="The name in /v1/models/NAME:predict.")] = "pixelcnnpp",
) -> None:
    """Serve an exported model with TensorFlow Serving if it is installed, else with KServe.

    Both speak TensorFlow Serving's REST protocol. Stop it with Ctrl-C.
    """
    from keras_pixelcnnpp.serving.server import serve, tensorflow_serving_command

    command = tensorflow_serving_command(savedmodel, name, port)
    print(f"Serving http://{host}:{port}/v1/models/{name}:predict", flush=True)
    if command is None:
        serve(savedmodel, name, host, port)
    else:
        print("TensorFlow Serving listens on every address of this machine.", flush=True)
        os.execv(command[0], command)  # noqa: S606 - becomes the server, signals included
