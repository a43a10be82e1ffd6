"""KServe's server; needs the extra `serve`, which is imported here alone."""

import asyncio
import logging
from collections.abc import Callable

from kserve import Model
from kserve.errors import InvalidInput
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer

from keras_pixelcnnpp.errors import UserError

# Requests in work and waiting; further ones are answered with status 503. Bounds the memory.
_MAX_CONCURRENCY = 64


class ServedModel(Model):
    """Answers KServe's V1 protocol, which is TensorFlow Serving's.

    A bad request is answered with status 400 and one line. NaN, which JSON lacks, becomes `null`.
    """

    def __init__(self, name: str, answer: Callable[[object], dict]):
        super().__init__(name)
        self._answer = answer
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None) -> dict:
        """Answers one request, in a thread of its own: others are read meanwhile."""
        try:
            return await asyncio.to_thread(self._answer, payload)
        except UserError as error:
            raise InvalidInput(str(error)) from error


def serve_with_kserve(answer: Callable[[object], dict], name: str, host: str, port: int) -> None:
    """Answers requests, from JSON to JSON, until SIGINT or SIGTERM."""
    repository = ModelRepository()
    repository.update(ServedModel(name, answer))
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
