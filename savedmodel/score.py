"""`pixelcnnpp savedmodel score`."""

from pathlib import Path
from typing import Annotated

import typer


def score(
    savedmodel: Annotated[Path, typer.Argument(help="runs/NAME/savedmodel, or one version in it.")],
    data: Annotated[Path, typer.Option(help="A folder: all PNG and JPEG files below it.")],
    output: Annotated[Path, typer.Option(help="Folder for the parts.")],
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share the work; above 1, it needs Ray.")
    ] = 1,
    part_size: Annotated[int, typer.Option(min=1, help="Pictures in a part.")] = 512,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = 64,
) -> None:
    """Score a large set of pictures: class, probabilities and bits/dim of each.

    Writes scores-00000.csv and so on, and summary.json when all are there. What was broken off
    goes on with the same command. A picture that can't be read is marked in its row.
    """
    from keras_pixelcnnpp.bulk import ScoringJob, require_workers
    from keras_pixelcnnpp.exported_model import ExportedModel
    from keras_pixelcnnpp.savedmodel.parts import make_parts

    require_workers(workers)
    exported = ExportedModel(savedmodel)
    job = ScoringJob(data, output, exported, part_size, batch_size)
    summary = make_parts(job, exported, workers)
    readable = summary["pictures"] - summary["unreadable"]
    print(f"Scored {readable} of {summary['pictures']} pictures")
    if readable:
        print(f"Mean: {summary['bits_per_dim']:.3f} bits/dim")
    print(f"Wrote {job.num_blocks} parts and {output / 'summary.json'}")
