"""A large job in parts: done by this process or by Ray's, with a bar; broken off, it goes on."""

import logging
import os
import secrets
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import ExportedModel
from keras_pixelcnnpp.files import atomic_path, read_json, remove_leftovers, write_json


class BlockJob(ABC):
    """Work whose result is a folder with a part, a file or a folder, for every block.

    A part depends on `inputs` and the number of its block alone, and appears whole or not at all:
    so several processes may do the work, and a job that was broken off goes on.
    """

    def __init__(self, output: str | Path, inputs: dict, num_blocks: int):
        self.output = Path(output)
        self.inputs = inputs
        self.num_blocks = num_blocks

    @abstractmethod
    def part_name(self, block: int) -> str:
        """The name of a part, in the folder `output`."""

    @abstractmethod
    def write(self, model: Any, block: int, path: Path) -> None:
        """Computes a block, by the model that the job is for, and writes it to `path`.

        That is a file or a folder, still to be made.
        """

    @abstractmethod
    def is_whole(self, block: int) -> bool:
        """Whether the part, which exists, has all that it should have."""

    @abstractmethod
    def summary(self) -> dict:
        """What there is to say of all parts together, as JSON has it."""

    def part(self, block: int) -> Path:
        """Where the part of a block lies."""
        return self.output / self.part_name(block)

    def start(self) -> list[int]:
        """Takes the output folder, new or broken off, and returns the blocks still to be done."""
        if self.output.exists() and not self.output.is_dir():
            raise UserError(f"{self.output} is not a folder")
        remove_leftovers(self.output)
        description = self.output / "job.json"
        if description.exists():
            self._refuse_other_inputs(read_json(description))
        elif self.output.exists() and any(self.output.iterdir()):
            raise UserError(f"{self.output} has other files and no job.json: choose another")
        write_json(description, self.inputs)
        return [block for block in range(self.num_blocks) if not self._is_done(block)]

    def write_part(self, model: Any, block: int) -> None:
        """Does one block. What an earlier run left of its part is replaced."""
        with atomic_path(self.part(block)) as temporary:
            self.write(model, block, temporary)

    def finish(self) -> dict:
        """Writes `summary.json`, when all parts are there, and returns its content."""
        summary = self.summary()
        write_json(self.output / "summary.json", summary)
        return summary

    def _is_done(self, block: int) -> bool:
        return self.part(block).exists() and self.is_whole(block)

    def _refuse_other_inputs(self, found: dict) -> None:
        names = dict.fromkeys([*self.inputs, *found])
        other = [name for name in names if found.get(name) != self.inputs.get(name)]
        if other:
            raise UserError(
                f"{self.output} was begun with other inputs ({', '.join(other)}): "
                "choose another folder"
            )


def make_parts(job: BlockJob, model: Any, workers: int = 1, ray_address: str | None = None) -> dict:
    """Writes the parts of a job that are missing, and the summary, which it returns.

    More than one worker takes an `ExportedModel`, which each of them can load.
    """
    blocks = job.start()
    if done := job.num_blocks - len(blocks):
        print(f"{done} of {job.num_blocks} parts are there already")
    tick = progress(len(blocks), unit="part")
    for _ in write_parts(job, blocks, model, workers, ray_address):
        tick()
    return job.finish()


def write_parts(
    job: BlockJob,
    blocks: list[int],
    model: Any,
    workers: int = 1,
    ray_address: str | None = None,
) -> Iterator[int]:
    """Does blocks, with one worker in this process; yields the number of each that is written."""
    require_workers(workers)
    if workers == 1 or not blocks:
        for block in blocks:
            job.write_part(model, block)
            yield block
    else:
        yield from write_with_ray(job, blocks, model.path, workers, ray_address)


def require_workers(workers: int) -> None:
    """Raises a `UserError` if so many processes take Ray, and `ray[data]` is not installed."""
    # Not imported yet: see `write_with_ray`. Ray without the extra `data` lacks pyarrow.
    if workers > 1 and not all(map(find_spec, ("ray", "pyarrow"))):
        raise UserError(
            "More than one worker needs Ray, which is not installed: "
            "pip install 'keras-pixelcnnpp[ray]'"
        )


# Only the numbers of blocks travel; Ray would set aside a third of the memory.
_OBJECT_STORE_BYTES = 100 << 20


class BlockWorker:
    """What runs in each process of Ray: has the model, and does the blocks that it is given."""

    def __init__(self, job: BlockJob, model: Path, threads: int, folder: str):
        # TensorFlow reads them when it is first used; each process would take all cores.
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
        # Relative paths are the command's. A machine that lacks its folder needs absolute ones.
        with suppress(OSError):
            os.chdir(folder)
        self._job = job
        self._exported = ExportedModel(model)

    def __call__(self, batch: dict) -> dict:
        (block,) = batch["block"]
        error = ""
        try:
            self._job.write_part(self._exported, int(block))
        # In its own words: Ray would wrap it in pages of its own.
        except UserError as problem:
            error = str(problem)
        return {"block": [block], "error": [error]}


def write_with_ray(
    job: BlockJob, blocks: list[int], model: Path, workers: int, address: str | None = None
) -> Iterator[int]:
    """Does blocks in several processes; yields the number of each.

    A process that dies is replaced, and its block is done again, however often: a block that kills
    each of them is found with one worker. Those of a machine that is lost wait for a core that is
    free, of another or of a new one. If this process dies, Ray ends the others.

    Args:
        job: The job. All machines must reach its files by the same paths.
        blocks: Their numbers.
        model: The SavedModel's folder.
        workers: Integer, processes.
        address: Of a Ray cluster, as `ray.init` takes it: its machines share the work. `None` for
            processes of this machine.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address is None:
        _keep_to_this_machine()
    else:
        _require_cluster(address)
    # Now, since it reads the environment once.
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    own = {
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else own),
        )
    except (ConnectionError, ValueError) as error:
        if address is None:
            raise
        raise UserError(f"No Ray cluster can be reached at {address}") from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        resources = ray.cluster_resources()
        cores = resources["CPU"] if address else os.cpu_count()
        threads = max(1, int(cores) // workers)
        items = [{"block": block} for block in blocks]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            BlockWorker,
            fn_constructor_args=(job, model, threads, str(Path.cwd())),
            batch_size=1,
            num_cpus=1,
            num_gpus=min(1, resources.get("GPU", 0) / workers),
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in done.iter_rows():
            if row["error"]:
                raise UserError(row["error"])
            yield int(row["block"])
    finally:
        ray.shutdown()


def _require_cluster(address: str) -> None:
    # Ray would try for minutes. It also knows addresses of other kinds, such as `auto`.
    host, _, port = address.rpartition(":")
    try:
        if host and "/" not in host:
            socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(f"No Ray cluster can be reached at {address}") from error


def _keep_to_this_machine() -> None:
    # Ray runs what it is sent, and listens on every address of a machine that could be part of a
    # cluster. Here only on the machine's own, and to who knows a word that is new each time.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
