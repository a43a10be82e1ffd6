"""Scores or samples large sets of images, in one process or with Ray."""

import csv
import hashlib
import io
import json
import os
import pickle
import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.data.folders import file_inside, visible_files
from keras_pixelcnnpp.data.images import SUFFIXES, png_bytes, read_image
from keras_pixelcnnpp.errors import UserError, not_installed
from keras_pixelcnnpp.files import read_json, write_bytes, write_json
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.sampling.class_samples import SAMPLING, image_names
from keras_pixelcnnpp.sampling.sampler import SamplingOptions, sample_images
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

# File names need not be UTF-8.
_TEXT = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


def score_folder(
    trained: TrainedModel,
    data: Path,
    output: Path,
    resume: bool = False,
    workers: int = 1,
    block_size: int = 256,
) -> np.ndarray:
    """Scores every image file below a folder, and writes a CSV file block by block.

    Its rows are `path,predicted,predicted_name,bits_per_dim,p_0,p_1,…,error`, sorted by path. An
    image that cannot be read has the class -1 and an error message. An unconditional model gives
    all images the class -1. With `resume`, an incomplete file is completed.

    Returns:
        Bits per dimension, float `(N,)`, NaN for images that cannot be read.
    """
    paths = images_below(data)
    numbers = [f"p_{label}" for label in range(trained.model.num_classes)]
    rows = [["path", "predicted", "predicted_name", "bits_per_dim", *numbers, "error"]]
    if output.exists():
        if not resume:
            raise UserError(f"{output} exists. Add --resume to continue it, or choose another file")
        rows = _complete_rows(output, rows[0], paths)
        kept = next((row for row in rows[1:] if row[3]), None)
        if kept and not np.isclose(*_bits([kept, *_score(data, trained, [kept[0]])]), atol=1e-3):
            raise UserError(f"{output} has scores of another model. Choose another file")
    starts = range(len(rows) - 1, len(paths), block_size)
    blocks = [paths[start : start + block_size] for start in starts]
    # Absolute, because the workers of a cluster have other working directories.
    results = map_blocks(partial(_score, data.absolute()), blocks, trained, workers)
    with output.open("w", **_TEXT) as file:
        writer = csv.writer(file)
        writer.writerows(rows)
        for scored in results:
            writer.writerows(scored)
            file.flush()
            rows += scored
    return _bits(rows[1:])


def _bits(rows: list[list]) -> np.ndarray:
    return np.array([float(row[3] or "nan") for row in rows])


def images_below(folder: Path) -> list[str]:
    """Returns the relative paths of all image files below a folder, sorted; at least one."""
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist")
    files = [file for file in visible_files(folder) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise UserError(f"{folder} has no image files. Expected files {', '.join(SUFFIXES)}")
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _complete_rows(file: Path, columns: list[str], paths: list[str]) -> list[list]:
    """Returns the complete rows of a CSV file that an interrupted command wrote."""
    with file.open(**_TEXT) as opened:
        text = opened.read()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if rows and (not text.endswith("\n") or len(rows[-1]) != len(columns)):
        rows.pop()
    rows, header = rows or [columns], ",".join(columns)
    is_ours = rows[0] == columns and (text.startswith(header) or header.startswith(text.rstrip()))
    if not is_ours or [row[0] for row in rows[1:]] != paths[: len(rows) - 1]:
        raise UserError(f"{file} has scores of other images or classes. Choose another file")
    return rows


def _score(data: Path, trained: TrainedModel, paths: list[str]) -> list[list]:
    """Returns a row of the CSV file for each path."""
    model, images, rows = trained.model, {}, {}
    for path in paths:
        try:
            images[path] = read_image(file_inside(data, path), model.image_shape, **trained.reading)
        except UserError as error:
            rows[path] = [path, -1, *[""] * (model.num_classes + 2), error]
    if images:
        pixels = np.stack(list(images.values()))
        if model.num_classes:
            result = trained.classify(pixels, verbose=0)
        else:
            result = {"bits_per_dim": model.bits_per_dim(pixels)}
            result |= {"class_id": [-1] * len(pixels), "probabilities": [()] * len(pixels)}
        columns = (result["class_id"], result["bits_per_dim"], result["probabilities"])
        for path, label, bits, row in zip(images, *columns, strict=True):
            values = [f"{value:.6g}" for value in (bits, *row)]
            name = model.class_names[label] if label >= 0 else ""
            rows[path] = [path, int(label), name, *values, ""]
    return [rows[path] for path in paths]


def sample_many(
    trained: TrainedModel,
    labels: np.ndarray,
    output: Path,
    seed: int = 0,
    how: dict | None = None,
    resume: bool = False,
    workers: int = 1,
    block_size: int = 100,
) -> int:
    """Samples an image for each label, and writes PNG files such as `Class1_image_01.png`.

    `how` has further arguments of `AutoregressiveModel.sample`. They are written to
    `sampling.json`, together with the seed, the labels and a checksum of the model. With `resume`,
    blocks whose files all exist are kept.

    Returns:
        The number of images that were sampled.

    Raises:
        UserError: If the folder already has samples, and either `resume` is false or they have
            other options or another model.
    """
    model, known, how = trained.model, output / SAMPLING, how or {}
    SamplingOptions(seed, **how).check(model)
    given = {"seed": seed, **how, "model": _checksum(model)}
    given |= {"label": [*map(int, dict.fromkeys(labels))], "count": len(labels)}
    if known.exists():
        if not resume:
            raise UserError(
                f"{output} has samples already. Add --resume to continue, or choose another folder"
            )
        before = read_json(known)
        if other := [name for name, value in given.items() if before.get(name) != value]:
            raise UserError(
                f"{output} has samples with another {' and '.join(other)}. Choose another folder"
            )
    resume = resume and known.exists()
    files = [output / name for name in image_names(labels, model.class_names)]
    blocks = {}
    for start in range(0, len(labels), block_size):
        part = slice(start, start + block_size)
        if not (resume and all(file.exists() for file in files[part])):
            blocks[start] = (labels[part], start, SamplingOptions(seed, **how, verbose=0))
    samples = map_blocks(_sample, list(blocks.values()), trained, workers)
    write_json(known, given)
    for start, images in zip(blocks, samples, strict=True):
        for file, image in zip(files[start:], images, strict=False):
            write_bytes(file, png_bytes(image))
    return sum(len(block) for block, _, _ in blocks.values())


def _checksum(model: AutoregressiveModel) -> str:
    """Returns the SHA-256 of a model's configuration and weights, in hexadecimal."""
    config = json.dumps(model.get_config(), sort_keys=True, default=str)
    digest = hashlib.sha256(config.encode())
    for weight in model.get_weights():
        digest.update(f"{weight.shape}{weight.dtype}".encode() + weight.tobytes())
    return digest.hexdigest()


def sampling_seed(folder: Path) -> int | None:
    """Returns the seed of the samples in a folder, or `None` if there are no samples."""
    known = folder / SAMPLING
    return read_json(known).get("seed") if known.exists() else None


def _sample(trained: TrainedModel, block: tuple[np.ndarray, int, SamplingOptions]) -> np.ndarray:
    labels, start, options = block
    wanted = labels if trained.model.num_classes else len(labels)
    return sample_images(trained.model, wanted, options, first=start)[0]


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
    address, own = os.environ.get("RAY_ADDRESS"), {}
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
        raise not_installed("More than one worker", "'ray[data]'") from error
    try:
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **own)
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
