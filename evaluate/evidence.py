"""`pixelcnnpp evaluate evidence`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keras_pixelcnnpp.classification.evidence import Evidence


def evidence(
    context: typer.Context,
    run: Annotated[Path, typer.Option(help="The run folder.")],
    data: Annotated[str | None, typer.Option(help="Other data than the run's own.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    per_class: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 4,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = 32,
) -> None:
    """Show where in the pictures PixelCNN++'s decisions come from.

    Each pixel's evidence for the true class, against the most probable other one. Writes
    reports/evidence.png and reports/evidence.json.
    """
    from keras_pixelcnnpp.atomic import atomic_path, write_json
    from keras_pixelcnnpp.classification import PixelCNNClassifier
    from keras_pixelcnnpp.classification.evidence import Evidence
    from keras_pixelcnnpp.classification.evidence_figure import evidence_png
    from keras_pixelcnnpp.errors import UserError, argument_errors
    from keras_pixelcnnpp.evaluate.given_options import given_options
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
    from keras_pixelcnnpp.models.trained_model import load_trained_model
    from keras_pixelcnnpp.run_data import load_run_data
    from keras_pixelcnnpp.run_folder import RunFolder

    folder = RunFolder(run)
    config = folder.read_config()
    path = folder.require_model("pixelcnnpp")
    pictures = load_run_data(config, data).split(split)
    if not (pictures.labels >= 0).any():
        raise UserError(f"The split {split} has no labels: no true class to find evidence for.")
    class_names = config["data"]["class_names"]
    with argument_errors():
        classifier = PixelCNNClassifier(
            load_trained_model(path, PixelCNNPlusPlus),
            batch_size,
            int(sys.stdout.isatty()),
        )
    print(f"PixelCNN++ scores {len(pictures.labelled())} pictures under every class")
    found = Evidence.gather(classifier, pictures, per_class)
    png = evidence_png(found, class_names, classifier.num_levels)
    with atomic_path(folder.reports / "evidence.png") as temporary:
        temporary.write_bytes(png)
    report = {
        "options": given_options(context),
        "split": split,
        "temperature": classifier.temperature,
        **found.report(class_names),
    }
    write_json(folder.reports / "evidence.json", report)
    _print_summary(found, report)
    print(f"Wrote evidence.png and evidence.json to {folder.reports}")


def _print_summary(found: "Evidence", report: dict) -> None:
    import numpy as np

    mistakes = int(np.sum(found.predicted != found.pictures.labels))
    half = np.mean([picture["half_within"] for picture in report["pictures"]])
    print(
        f"{len(found)} pictures, {mistakes} of them mistakes. On average, half of the evidence "
        f"lies within {half:.0%} of a picture."
    )
