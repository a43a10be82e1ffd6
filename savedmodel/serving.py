"""The commands `export` and `serve`: KServe, with the REST protocol of TensorFlow Serving."""

import asyncio
import base64
import json
import re
import shlex
import socket
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from keras_pixelcnnpp.commands.helpers import only_local_names
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier, version_folder
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.backend import require_tensorflow
from keras_pixelcnnpp.utils.checks import require_choice
from keras_pixelcnnpp.utils.errors import UserError, not_installed, one_line, say

# A short request could ask for many images and much memory.
MAX_IMAGES = 256
# Uvicorn's: further connections get the status 503; idle ones are closed; running requests end.
LIMITS: dict[str, Any] = {
    "limit_concurrency": 256,
    "timeout_keep_alive": 10,
    "timeout_graceful_shutdown": 30,
}
# Decoding one file can take 300 MB.
_DECODING = threading.Lock()


def export_run(run: Path, version: int) -> None:
    """Exports the model of a run to its folder `savedmodel`."""
    folder = RunFolder(run)
    config = folder.read_config()
    source = folder.require_model("pixelcnnpp")
    require_tensorflow()
    from keras_pixelcnnpp.export.endpoints import export_saved_model  # needs TensorFlow

    path = folder.savedmodel / str(version)
    with folder.locked():
        export_saved_model(load_trained_model(source), path, config)
    say(f"Wrote {path}. Next: pixelcnnpp serve --run {shlex.quote(str(folder.path))}")


def serve(path: str | Path, name: str, host: str, port: int) -> None:
    """Serves a SavedModel with KServe until SIGINT or SIGTERM.

    Neither the size of a request nor the number of requests of a client is limited. A proxy in
    front of a public server limits them.
    """
    folder = version_folder(path)
    model = RunFolder(path).model_keras
    if model.is_file() and model.stat().st_mtime > folder.stat().st_mtime:
        run = shlex.quote(str(path))
        say(f"Note: {model} is newer than {folder}. To export it: pixelcnnpp export --run {run}")
    # Bound before the model is loaded, so that a used port is reported at once.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise UserError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port or --host"
            ) from error
        try:
            import uvicorn

            app = application(SavedModelClassifier(folder), name, host)
        except ImportError as error:
            raise not_installed("Serving", "kserve") from error
        print(f"Serving http://{host}:{port}/v1/models/{name}:predict", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_config=None, **LIMITS)).run(sockets=[listening])


def application(model: SavedModelClassifier, name: str, host: str = "127.0.0.1") -> Any:
    """Returns the `FastAPI` application that answers requests to a model in KServe's V1 protocol.

    `host` is the address on which it listens.

    It has only this protocol, which is that of TensorFlow Serving. KServe's `RESTServer` would
    add its V2 protocol, with which every client can unload the model.
    """
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from kserve import Model, ModelRepository
    from kserve.errors import InvalidInput, ModelNotFound
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.rest.v1_endpoints import register_v1_endpoints

    class ServedModel(Model):
        """Answers the requests to one model."""

        async def predict(
            self, payload: object, headers: dict | None = None, response_headers: dict | None = None
        ) -> dict:
            try:
                # KServe does not decode other types of content, such as JSON with a charset.
                if isinstance(payload, bytes):
                    payload = _decoded(payload, (headers or {}).get("content-type", ""))
                # In a thread, so that the server can read other requests.
                return await asyncio.to_thread(predict, model, payload)
            except UserError as error:
                raise InvalidInput(str(error)) from error

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, statuses[type(error)])

    statuses = {InvalidInput: 400, ModelNotFound: 404, NotImplementedError: 501}
    app = FastAPI(openapi_url=None, middleware=only_local_names(host))
    for error in statuses:
        app.add_exception_handler(error, refuse)
    model.load()
    served, repository = ServedModel(name), ModelRepository()
    served.ready = True
    repository.update(served)
    register_v1_endpoints(app, DataPlane(model_registry=repository), None)
    return app


def _decoded(content: bytes, kind: str) -> object:
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise UserError(f"Expected the header Content-Type: application/json. Received: {kind}")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Expected JSON: {one_line(error)}") from error


def predict(model: SavedModelClassifier, request: object) -> dict:
    """Answers the JSON of a request to `/v1/models/NAME:predict`; `UserError` if it is invalid.

    Request and answer follow https://www.tensorflow.org/tfx/serving/api_rest#predict_api.
    """
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise UserError("Expected a JSON object with either 'instances' or 'inputs'")
    endpoint = request.get("signature_name", "serving_default")
    require_choice("signature_name", endpoint, model.endpoints)
    specs = model.inputs(endpoint)
    if "inputs" in request:
        return {"outputs": _single(_call(model, endpoint, specs, request["inputs"]))}
    outputs = _call(model, endpoint, specs, _columns(specs, request["instances"]))
    if len(outputs) == 1:
        return {"predictions": _single(outputs)}
    rows = zip(*outputs.values(), strict=True)
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]}


def _single(outputs: dict[str, list]) -> dict[str, list] | list:
    """Drops the name of a single output, as TensorFlow Serving does."""
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _columns(specs: dict, instances: object) -> dict[str, list]:
    """Converts a list of dictionaries into a dictionary of lists."""
    if not isinstance(instances, list) or not instances:
        raise UserError("'instances' must be a list with at least one entry")
    _require_few(instances)
    for name, spec in specs.items():
        if spec.shape.rank == 0:
            raise UserError(f"{name!r} is a single value for the whole batch. Use 'inputs'")
    rows = [_named(specs, instance) for instance in instances]
    return {name: [row[name] for row in rows] for name in specs}


def _named(specs: dict, value: Any) -> dict:
    """Returns the values of the inputs by name; a single input may come without its name."""
    if isinstance(value, dict) and set(value) == set(specs):
        return value
    if len(specs) != 1:
        raise UserError(f"Expected a JSON object with {', '.join(map(repr, specs))}")
    return dict.fromkeys(specs, value)


def _call(
    model: SavedModelClassifier, endpoint: str, specs: dict, values: object
) -> dict[str, list]:
    values = _named(specs, values)
    for value in values.values():
        _require_few(value)
    specs_of = ", ".join(f"{name}: {spec.dtype.name}" for name, spec in specs.items())
    try:
        if endpoint == "classify_bytes":
            # JSON has no bytes; TensorFlow Serving writes them as {"b64": "…"}.
            files = [base64.b64decode(file["b64"], validate=True) for file in values["image_bytes"]]
            values = {"image_bytes": np.array(files, object)}
        with _DECODING if endpoint == "classify_bytes" else nullcontext():
            outputs = model.call(endpoint, **values)
    except UserError:
        raise
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        expected = f'{specs_of}; a string is written {{"b64": "…"}}'
        raise UserError(f"Expected {expected}. Received: {one_line(error):.80}") from error
    # The graph refuses wrong shapes, a temperature of 0 and so on.
    except Exception as error:
        if type(error).__name__ != "InvalidArgumentError":
            raise
        # TensorFlow's message starts with the place in the graph; the reason is in the middle.
        assertion = re.search(r"assertion failed: \[(.*?)[. ]*\]", str(error))
        reason = assertion[1] if assertion else str(error).strip().splitlines()[0]
        raise UserError(f"Refused by the model: {reason[:200]}") from error
    return {name: output.tolist() for name, output in outputs.items()}


def _require_few(values: object) -> None:
    """Raises a `UserError` for a long list, before a larger object is made of it."""
    if isinstance(values, list) and len(values) > MAX_IMAGES:
        raise UserError(
            f"A request has at most {MAX_IMAGES} images or labels. Received: {len(values)}"
        )
