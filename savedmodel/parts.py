"""Doing the blocks of a job, in this process or in several."""

from collections.abc import Iterator
from importlib.util import find_spec

from keras_pixelcnnpp.bulk.block_job import BlockJob
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.exported_model import ExportedModel


def write_parts(
    job: BlockJob, blocks: list[int], exported: ExportedModel, workers: int = 1
) -> Iterator[int]:
    """Writes parts of a job.

    Args:
        job: What to do.
        blocks: Which of its blocks: those that `job.start()` returned.
        exported: The model that the job was made for.
        workers: The number of processes. With 1, all is done in this one, without Ray; with more,
            Ray is started on this machine, and stopped at the end.

    Yields:
        The number of each block, as soon as its part is written.

    Raises:
        UserError: if Ray is needed and missing, or a block meets one, such as a full disk.
    """
    require_workers(workers)
    if workers == 1 or not blocks:
        for block in blocks:
            job.run(exported, block)
            yield block
    else:
        from keras_pixelcnnpp.bulk.ray_workers import run_with_ray

        yield from run_with_ray(job, blocks, exported.path, workers)


def require_workers(workers: int) -> None:
    """Checks that so many processes can be had.

    Raises:
        UserError: if it takes Ray, and `ray[data]` is not installed.
    """
    # Not imported yet: see `ray_workers`. Ray without the extra `data` lacks pyarrow.
    if workers > 1 and not all(map(find_spec, ("ray", "pyarrow"))):
        raise UserError(
            "More than one worker needs Ray, which is not installed: "
            "pip install 'keras-pixelcnnpp[ray]'"
        )
