"""Several processes, on one machine or many, that train one model."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import keras

from keras_pixelcnnpp.errors import UserError


@dataclass(frozen=True)
class Cluster:
    """The workers of one training, and which of them this process is.

    Args:
        workers: `HOST:PORT` of each, the same list on every worker. The first is the chief: the
            others find each other through its address, and it alone writes files.
        index: This process's place in the list.

    Raises:
        UserError: if there is no such place.
    """

    workers: tuple[str, ...]
    index: int

    def __post_init__(self):
        if not 0 <= self.index < len(self.workers):
            raise UserError(
                f"Invalid value for option `worker`. Expected a number from 0 to "
                f"{len(self.workers) - 1}, this process's place in `workers`. "
                f"Received: worker={self.index}"
            )
        for address in self.workers:
            host, _, port = str(address).rpartition(":")
            if not (host and port.isdecimal() and int(port) < 2**16):
                raise UserError(
                    "Invalid value for option `workers`. Expected HOST:PORT of each worker, with "
                    f"commas between. Received: {address!r}"
                )

    @classmethod
    def find(
        cls,
        workers: str | None = None,
        worker: int | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> "Cluster | None":
        """The cluster that the options name, or else the environment variable `TF_CONFIG`.

        Args:
            workers: `HOST:PORT` of each worker, with commas between.
            worker: This process's place among them.
            environ: Where `TF_CONFIG` is looked for: `{"cluster": {"worker": [...]}, "task":
                {"type": "worker", "index": 0}}`, as cluster managers set it; a `chief` comes first.

        Returns:
            `None` where there is only one worker.

        Raises:
            UserError: if an option or `TF_CONFIG` is wrong.
        """
        if (workers is None) != (worker is None):
            raise UserError("The options `workers` and `worker` belong together: give both.")
        if workers is not None:
            found = cls(tuple(part.strip() for part in workers.split(",")), worker)
        elif environ.get("TF_CONFIG"):
            found = cls(*_parse(environ["TF_CONFIG"]))
        else:
            return None
        return found if len(found.workers) > 1 else None

    def join(self) -> None:
        """Connects this process with the others; waits until all are there.

        It must come before the backend's first computation.

        Raises:
            UserError: if Keras's backend cannot train with several workers, or they don't meet.
        """
        backend = keras.backend.backend()
        if backend != "jax":
            raise UserError(
                f"Training with {len(self.workers)} workers needs KERAS_BACKEND=jax: Keras 3 does "
                f"not support it under {backend}. (One process trains on several devices with "
                "--devices; to train alone, unset TF_CONFIG.)"
            )
        try:
            keras.distribution.initialize(self.workers[0], len(self.workers), self.index)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"Not all workers met at {self.workers[0]}: {reason}") from error


def _parse(text: str) -> tuple[tuple[str, ...], int]:
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        roles = {role: list(cluster.get(role, [])) for role in ("chief", "worker")}
        index = int(task.get("index", 0))
        kind = task.get("type", "worker")
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"The environment variable TF_CONFIG is damaged: {error}") from error
    if not any(roles.values()):
        return ("localhost:0",), 0
    if kind not in roles:
        raise UserError(
            "The environment variable TF_CONFIG gives this process a task of type "
            f"{kind!r}. Expected one of: chief, worker"
        )
    index += len(roles["chief"]) if kind == "worker" else 0
    return (*roles["chief"], *roles["worker"]), index
