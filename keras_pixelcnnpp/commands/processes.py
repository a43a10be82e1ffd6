"""Applies a function to blocks of images, in one process or with Ray."""

import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.utils.backend import progress
from keras_pixelcnnpp.utils.errors import UserError, not_installed


def map_blocks(
    function: Callable[[TrainedModel, Any], Any],
    blocks: list,
    trained: TrainedModel,
    workers: int = 1,
) -> Iterator:
    """Iterates over the results of `function(trained, block)` in order, with a progress bar.

    More than one worker needs Ray, and a function and blocks that can be pickled. If the
    environment variable `RAY_ADDRESS` names a cluster, its machines must see the same files by the
    same paths.
    """
    if workers > 1 and blocks:
        # Ray must start before the caller creates its output file, so that an error leaves none.
        ray = _start_ray(workers)
        # Absolute, because the workers have other working directories.
        source = str(Path(trained.source).absolute())
        results = _map_with_ray(ray, function, blocks, source, workers)
    else:
        results = (function(trained, block) for block in blocks)
    return _with_progress(results, len(blocks))


def _with_progress(results: Iterable, count: int) -> Iterator:
    tick = progress(count, unit="block")
    for result in results:
        yield result
        tick()


class _Worker:
    """A worker process of Ray."""

    def __init__(self, function: Callable[[TrainedModel, Any], Any], source: str, threads: int):
        # TensorFlow reads these variables when it is first used. By default, each process would
        # use all cores.
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
        self.function = function
        self.trained = TrainedModel.find(source)

    def apply(self, block: Any) -> Any:
        """Returns the result for a block."""
        return self.function(self.trained, block)


def _start_ray(workers: int) -> ModuleType:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {}
    if not address:
        # Anybody who knows the token can run code in Ray, so it is a new random one each time.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        own = {"num_cpus": workers, "include_dashboard": False}
    else:
        # The number of attempts to reach a cluster, of half a minute each. The default is 20.
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
    try:
        # Ray reads the environment when it is imported.
        import ray
        import ray.util
    except ImportError as error:
        raise not_installed("More than one worker", "ray") from error
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except ConnectionError as error:
        raise UserError(f"The Ray cluster at RAY_ADDRESS={address} cannot be reached") from error
    return ray


def _map_with_ray(
    ray: ModuleType,
    function: Callable[[TrainedModel, Any], Any],
    blocks: list,
    source: str,
    workers: int,
) -> Iterator:
    """Maps blocks with Ray, which replaces lost workers and repeats their blocks."""
    try:
        # On a cluster, each worker reserves one core.
        on_cluster = bool(os.environ.get("RAY_ADDRESS"))
        threads = 1 if on_cluster else max(1, os.cpu_count() // workers)
        gpus = min(1, ray.cluster_resources().get("GPU", 0) / workers)
        repeated = {"max_restarts": -1, "max_task_retries": -1}
        actor = ray.remote(num_cpus=1, num_gpus=gpus, **repeated)(_Worker)
        actors = [actor.remote(function, source, threads) for _ in range(workers)]
        pool = ray.util.ActorPool(actors)
        yield from pool.map(lambda worker, block: worker.apply.remote(block), blocks)
    finally:
        ray.shutdown()
