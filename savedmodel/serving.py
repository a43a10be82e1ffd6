"""Serving a SavedModel: TensorFlow Serving's predict protocol, and the servers that speak it."""

import base64
import binascii
import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import ExportedModel, version_folder

# Of one request, at once: memory doesn't grow with the request.
_BATCH_SIZE = 64


def predict(exported: ExportedModel, request: object) -> dict:
    """Answers the JSON of a request to `/v1/models/NAME:predict`; a `UserError` says what is bad.

    https://www.tensorflow.org/tfx/serving/api_rest#predict_api has the form of both.
    """
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise UserError("Expected a JSON object with either 'instances' or 'inputs'")
    endpoint = request.get("signature_name", "serving_default")
    if not isinstance(endpoint, str):
        raise UserError(f"'signature_name' must be a text. Received: {endpoint!r:.80}")
    if endpoint not in exported.endpoints:
        raise UserError(
            f"'signature_name' must be one of: {', '.join(exported.endpoints)}. "
            f"Received: {endpoint!r:.80}"
        )
    specs = exported.inputs(endpoint)
    if "inputs" in request:
        outputs = _run(exported, endpoint, _arrays(specs, request["inputs"]))
        return {"outputs": _json(outputs)}
    outputs = _run_instances(exported, endpoint, specs, request["instances"])
    if len(outputs) == 1:  # as TensorFlow Serving does
        return {"predictions": _json(outputs)}
    names = list(outputs)
    rows = zip(*(outputs[name].tolist() for name in names), strict=True)
    return {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}


def _run_instances(exported, endpoint, specs, instances):
    if not isinstance(instances, list) or not instances:
        raise UserError("'instances' must be a list with at least one entry")
    single = [name for name, spec in specs.items() if spec.shape.rank == 0]
    if single:
        raise UserError(f"{single[0]!r} is one value for the whole batch: use 'inputs'")
    batches = [
        _run(exported, endpoint, _arrays(specs, _columns(specs, instances[start:][:_BATCH_SIZE])))
        for start in range(0, len(instances), _BATCH_SIZE)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _columns(specs, instances):
    """Turns a list of objects into an object of lists."""
    if len(specs) == 1:
        (name,) = specs
        return {name: [_only_value(name, instance) for instance in instances]}
    for instance in instances:
        if not isinstance(instance, dict) or set(instance) != set(specs):
            raise UserError(f"Each instance must be an object of {_listed(specs)}")
    return {name: [instance[name] for instance in instances] for name in specs}


def _only_value(name, instance):
    is_named = isinstance(instance, dict) and set(instance) == {name}
    return instance[name] if is_named else instance


def _arrays(specs, values):
    if len(specs) == 1 and not (isinstance(values, dict) and set(values) == set(specs)):
        values = dict.fromkeys(specs, values)
    if not isinstance(values, dict) or set(values) != set(specs):
        raise UserError(f"The inputs must be an object of {_listed(specs)}")
    return {name: _array(name, values[name], spec) for name, spec in specs.items()}


def _array(name, value, spec):
    if spec.dtype.name == "string":
        if not isinstance(value, list):
            raise UserError(f"{name!r} must be a list")
        return np.array([_bytes(name, item) for item in value], dtype=object)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UserError(f"{name!r} is not an array: {' '.join(str(error).split())}") from error
    wanted = spec.dtype.as_numpy_dtype
    if not array.size:
        array = array.astype(wanted)  # an empty list has no kind
    is_integer = np.issubdtype(wanted, np.integer)
    if array.dtype.kind not in ("ui" if is_integer else "uif"):
        raise UserError(f"{name!r} must be numbers of the kind {spec.dtype.name}")
    if is_integer and array.size:
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise UserError(f"{name!r} must be from {limits.min} to {limits.max}")
    if not spec.shape.is_compatible_with(array.shape):
        raise UserError(f"{name!r} must have the shape {spec.shape}. Received: {array.shape}")
    return array.astype(wanted)


def _bytes(name, item):
    text = item.get("b64") if isinstance(item, dict) and len(item) == 1 else None
    if not isinstance(text, str):
        raise UserError(f'{name!r} must be bytes, written {{"b64": "…"}}')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{name!r} is not base64: {error}") from error


def _run(exported, endpoint, arrays):
    try:
        return exported.call(endpoint, **arrays)
    # What the graph itself refuses, such as a temperature of 0.
    except Exception as error:
        if type(error).__name__ != "InvalidArgumentError":
            raise
        raise UserError(f"Refused by the model: {_reason(str(error))[:200]}") from error


def _reason(message):
    """TensorFlow tells where in the graph it was first, and in the middle why."""
    assertion = re.search(r"assertion failed: \[(.*?)[. ]*\]", message)
    return assertion[1] if assertion else message.strip().splitlines()[0]


def _json(outputs):
    values = {name: output.tolist() for name, output in outputs.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def _listed(specs):
    return ", ".join(repr(name) for name in specs)


def tensorflow_serving_command(path: str | Path, name: str, port: int) -> list[str] | None:
    """The command that serves the newest version with TensorFlow Serving; `None` without it."""
    program = shutil.which("tensorflow_model_server")
    if program is None:
        return None
    version = version_folder(path)
    if version == Path(path):
        raise UserError(f"TensorFlow Serving takes the folder of all versions: {version.parent}")
    options = {"port": 0, "rest_api_port": port, "model_name": name}
    arguments = [f"--{option}={value}" for option, value in options.items()]
    return [program, *arguments, f"--model_base_path={version.parent.resolve()}"]


def serve(path: str | Path, name: str, host: str, port: int) -> None:
    """Serves a SavedModel until SIGINT or SIGTERM: with TensorFlow Serving, else with KServe.

    The size of a request is not bounded: what faces the Internet needs a proxy that does so.
    """
    command = tensorflow_serving_command(path, name, port)
    if command is not None:
        print(f"Serving {_address(name, host, port)}")
        print("TensorFlow Serving listens on every address of this machine.", flush=True)
        os.execv(command[0], command)  # noqa: S606 - becomes the server, signals included
    version_folder(path)
    try:
        from keras_pixelcnnpp.savedmodel.kserve_server import serve_with_kserve
    except ImportError as error:
        raise UserError(
            "Serving needs TensorFlow Serving (tensorflow_model_server) or KServe, of which none "
            "is installed: pip install 'keras-pixelcnnpp[serve]'"
        ) from error
    answer = partial(predict, ExportedModel(path))
    print(f"Serving {_address(name, host, port)}", flush=True)
    serve_with_kserve(answer, name, host, port)


def _address(name, host, port):
    return f"http://{host}:{port}/v1/models/{name}:predict"
