"""Blocks done by processes that Ray Data starts, feeds and replaces."""

import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from keras_pixelcnnpp.bulk.block_job import BlockJob
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.exported_model import ExportedModel

# Only the numbers of blocks travel; Ray would set aside a third of the memory.
_OBJECT_STORE_BYTES = 100 << 20


class BlockWorker:
    """What runs in each process: has the model, and does the blocks that it is given.

    Args:
        job: The job.
        model: The folder of the exported model.
        threads: Of TensorFlow, in this process.
    """

    def __init__(self, job: BlockJob, model: Path, threads: int):
        # TensorFlow reads them when it is first used; each process would take all cores.
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
        self._job = job
        self._exported = ExportedModel(model)

    def __call__(self, batch: dict) -> dict:
        (block,) = batch["block"]
        error = ""
        try:
            self._job.run(self._exported, int(block))
        # In its own words: Ray would wrap it in pages of its own.
        except UserError as problem:
            error = str(problem)
        return {"block": [block], "error": [error]}


def run_with_ray(job: BlockJob, blocks: list[int], model: Path, workers: int) -> Iterator[int]:
    """Does blocks in several processes of this machine.

    A process that dies is replaced, and its block is done again, however often: a block that kills
    each of them is found with one worker, without Ray. If this process dies, Ray ends the others.

    Args:
        job: The job; its output folder is ready.
        blocks: Which blocks to do.
        model: The folder of the exported model.
        workers: The number of processes.

    Yields:
        The number of each block, as soon as its part is written.

    Raises:
        UserError: if a block meets one, such as a full disk.
    """
    _prepare_environment()
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.init(
        # Always its own: parts are atomic among the processes of one machine.
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=_OBJECT_STORE_BYTES,
    )
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        threads = max(1, os.cpu_count() // workers)
        items = [{"block": block} for block in blocks]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            BlockWorker,
            fn_constructor_args=(job, model, threads),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in done.iter_rows():
            if row["error"]:
                raise UserError(row["error"])
            yield int(row["block"])
    finally:
        ray.shutdown()


def _prepare_environment() -> None:
    """Before Ray is imported, which reads all this once."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Ray runs what it is sent, and listens on every address of a machine that could be part of a
    # cluster. Here only on the machine's own, and to who knows a word that is new each time.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
