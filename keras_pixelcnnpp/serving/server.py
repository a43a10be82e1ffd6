"""Starting a server for an exported model."""

import asyncio
import logging
import shutil
from pathlib import Path

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.exported_model import ExportedModel, version_folder

# Requests in work and waiting; further ones are answered with status 503. Bounds the memory.
_MAX_CONCURRENCY = 64


def tensorflow_serving_command(path: str | Path, name: str, port: int) -> list[str] | None:
    """The command that serves a SavedModel with TensorFlow Serving; `None` without it.

    Args:
        path: `runs/NAME/savedmodel`, of which TensorFlow Serving takes the newest version.
        name: What the model is called in the address.
        port: The port of the REST protocol. TensorFlow Serving listens on every network interface.

    Raises:
        UserError: if there is no SavedModel, or `path` is one version of it.
    """
    program = shutil.which("tensorflow_model_server")
    if program is None:
        return None
    folder = version_folder(path)
    if folder == Path(path):
        raise UserError(f"TensorFlow Serving takes the folder of all versions: {folder.parent}")
    options = {"port": 0, "rest_api_port": port, "model_name": name}
    arguments = [f"--{option}={value}" for option, value in options.items()]
    return [program, *arguments, f"--model_base_path={Path(path).resolve()}"]


def serve(path: str | Path, name: str, host: str, port: int) -> None:
    """Serves a SavedModel with KServe's model server until SIGINT or SIGTERM.

    The size of a request is not bounded: what faces the Internet needs a proxy that does so.

    Args:
        path: `runs/NAME/savedmodel`, of which the newest version is taken, or one version's folder.
        name: What the model is called in the address: `/v1/models/NAME:predict`.
        host: The address to listen on, such as `127.0.0.1`.
        port: The port to listen on.

    Raises:
        UserError: if there is no SavedModel, or KServe is missing.
    """
    version_folder(path)
    try:
        from kserve.model_repository import ModelRepository
        from kserve.protocol.dataplane import DataPlane
        from kserve.protocol.model_repository_extension import ModelRepositoryExtension
        from kserve.protocol.rest.server import RESTServer

        from keras_pixelcnnpp.serving.served_model import ServedModel
    except ImportError as error:
        raise UserError(
            "Serving needs TensorFlow Serving (tensorflow_model_server) or KServe, of which none "
            "is installed: pip install 'keras-pixelcnnpp[serve]'"
        ) from error
    repository = ModelRepository()
    repository.update(ServedModel(name, ExportedModel(path)))
    # The REST half of kserve.ModelServer, which listens on every interface.
    server = RESTServer(
        "kserve.model_server:app",
        DataPlane(model_registry=repository),
        ModelRepositoryExtension(model_registry=repository),
        port,
    )
    server.config.host = host
    server.config.limit_concurrency = _MAX_CONCURRENCY
    # A stack trace for every bad request would fill the disk of whoever keeps the log.
    logging.getLogger("kserve").addFilter(_is_no_bad_request)
    asyncio.run(server.start())


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    return not (record.exc_info and type(record.exc_info[1]).__name__ == "InvalidInput")
