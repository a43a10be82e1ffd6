"""Applies a function to blocks of images, in one process or with Ray."""

import logging
import os
import pickle
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

    def __call__(self, batch: dict) -> dict:
        result = self.function(self.trained, pickle.loads(batch["block"][0]))  # noqa: S301 - ours
        return {"result": [pickle.dumps(result)]}


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
        import ray.data
    except ImportError as error:
        raise not_installed("More than one worker", "ray[data]") from error
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
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        resources = ray.cluster_resources()
        # On a cluster, each worker reserves one core.
        on_cluster = bool(os.environ.get("RAY_ADDRESS"))
        threads = 1 if on_cluster else max(1, os.cpu_count() // workers)
        items = [{"block": pickle.dumps(block)} for block in blocks]
        results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Worker,
            fn_constructor_args=(function, source, threads),
            batch_size=1,
            num_cpus=1,
            num_gpus=min(1, resources.get("GPU", 0) / workers),
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in results.iter_rows():
            yield pickle.loads(row["result"])  # noqa: S301 - ours
    finally:
        ray.shutdown()
