"""`pixelcnnpp savedmodel sample`."""

from pathlib import Path
from typing import Annotated

import typer


def sample(
    savedmodel: Annotated[Path, typer.Argument(help="runs/NAME/savedmodel, or one version in it.")],
    label: Annotated[list[str], typer.Option(help="A class, by name or number. May be repeated.")],
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 25,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Same seed, same pictures.")] = 0,
    temperature: Annotated[
        float, typer.Option(help="Above 0; below 1, safer and smoother pictures.")
    ] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = 100,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Draw in parts, with so many processes; above 1, it needs Ray."),
    ] = None,
) -> None:
    """Draw pictures with an exported model, as PNG files: Class1_image_01.png and so on.

    With --workers, for many: the same pictures in folders part-00000 and so on, one for each step.
    What was broken off goes on with the same command.
    """
    import numpy as np

    from keras_pixelcnnpp.bulk import SamplingJob, require_workers
    from keras_pixelcnnpp.errors import UserError
    from keras_pixelcnnpp.exported_model import ExportedModel
    from keras_pixelcnnpp.generation.exported_sampling import class_label, sample_exported
    from keras_pixelcnnpp.savedmodel.parts import make_parts

    if not 0 < temperature < float("inf"):
        raise UserError(
            "Invalid value for option `temperature`. Expected a positive number. "
            f"Received: temperature={temperature}"
        )
    exported = ExportedModel(savedmodel)
    classes = dict.fromkeys(class_label(exported, name) for name in label)
    labels = np.repeat(list(classes), count)
    if workers is not None:
        require_workers(workers)
        job = SamplingJob(labels, output, exported, seed, temperature, batch_size)
        summary = make_parts(job, exported, workers)
        print(f"Wrote {summary['pictures']} pictures to {output}, in {job.num_blocks} parts")
        return
    print(f"Drawing {len(labels)} pictures. The first step takes longest.")
    samples = sample_exported(exported, labels, seed, temperature, batch_size)
    samples.write(output)
    print(f"Wrote {len(samples)} pictures to {output}")
