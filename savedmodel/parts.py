"""Parts of large sets, with a bar."""

from keras_pixelcnnpp.bulk import BlockJob, write_parts
from keras_pixelcnnpp.exported_model import ExportedModel


def make_parts(job: BlockJob, exported: ExportedModel, workers: int) -> dict:
    """Writes the parts of a job that are missing, and the summary, which it returns."""
    from rich.progress import track

    blocks = job.start()
    done = job.num_blocks - len(blocks)
    if done:
        print(f"{done} of {job.num_blocks} parts are there already")
    for _ in track(write_parts(job, blocks, exported, workers), "Parts", total=len(blocks)):
        pass
    return job.finish()
