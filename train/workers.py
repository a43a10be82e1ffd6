"""Several processes, on one machine or many, that train one model."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from keras_pixelcnnpp.errors import UserError


@dataclass(frozen=True)
class Cluster:
    """The workers of one training, `HOST:PORT` of each, and which of them this process is.

    The list is the same on all. The first is the chief: the others find each other through its
    address, and it alone writes files.
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
        """The cluster that the options name, or else `TF_CONFIG`; `None` for a single worker.

        Cluster managers set `TF_CONFIG`: `{"cluster": {"worker": [...]}, "task": {"type": "worker",
        "index": 0}}`; a `chief` comes first.
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


class ShardedSequence(keras.utils.PyDataset):
    """Batches of an `ImageSequence`, cut so that every device gets equally many pictures.

    With several workers each sees its own rows, those of `shard`, of the same batch.
    """

    # A batch that cannot be divided, as the last one of an epoch often is, is filled up with
    # pictures of weight 0; the others then weigh so much more that the mean over all rows is the
    # mean over the pictures. So the gradient is that of the whole batch on one device. Metrics
    # count the filled-up batch as a whole one.
    #
    # If any batch of an epoch must be filled up, every one is a tuple of the inputs, the weights,
    # and the weights once more: the second is Keras's place for targets, which no model looks at.

    def __init__(self, batches, num_devices, shard=0, num_shards=1, **kwargs):
        super().__init__(**kwargs)
        if num_devices % num_shards or not 0 <= shard < num_shards:
            raise ValueError(
                "Invalid value for argument `shard`. Expected an integer from 0 to num_shards - 1, "
                "and num_shards to divide num_devices. Received: "
                f"shard={shard}, num_shards={num_shards}, num_devices={num_devices}"
            )
        self.batches = batches
        self.num_devices = num_devices
        self.shard = shard
        self.num_shards = num_shards
        sizes = (batches.batch_size, len(batches.rows(len(batches) - 1)))
        self._weighted = any(size % num_devices for size in sizes)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        (batch,) = self.batches[index]
        count = len(batch["image"])
        filled = count + -count % self.num_devices
        share = filled // self.num_shards
        rows = np.arange(self.shard * share, (self.shard + 1) * share)
        batch = {name: value[rows % count] for name, value in batch.items()}
        if not self._weighted:
            return (batch,)
        weights = np.where(rows < count, filled / count, 0).astype("float32")
        return batch, weights, weights
