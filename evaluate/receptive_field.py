"""`pixelcnnpp evaluate receptive-field`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

    from keras_pixelcnnpp.run_folder import RunFolder


def receptive_field(
    context: typer.Context,
    run: Annotated[Path, typer.Option(help="The run folder.")],
    untrained: Annotated[
        bool,
        typer.Option("--untrained", help="The run's architecture with fresh weights instead."),
    ] = False,
    pictures: Annotated[
        int, typer.Option(min=1, help="Gradients are averaged over this many.")
    ] = 4,
) -> None:
    """Show which pixels a pixel sees: earlier ones, none at or after itself, no blind spot.

    Writes reports/receptive_field.png and reports/receptive_field.json.
    """
    from keras_pixelcnnpp.evaluate.given_options import given_options
    from keras_pixelcnnpp.receptive_field import count_seen, pixel_influence, typical_targets
    from keras_pixelcnnpp.run_data import load_run_data
    from keras_pixelcnnpp.run_folder import RunFolder
    from keras_pixelcnnpp.training.splits import measured_pictures, some

    folder = RunFolder(run)
    config = folder.read_config()
    model = _fresh_model(folder, config) if untrained else _trained_model(folder)
    data = load_run_data(config)
    with_labels = model.num_classes > 0
    split = some(measured_pictures(data, "validation", with_labels=with_labels), pictures)
    if untrained:
        model.initialize(split.images, split.labels)
    targets = typical_targets(*model.image_shape[:2])
    influence = pixel_influence(model, split.images, split.labels, targets)
    counts = [count_seen(values, target) for values, target in zip(influence, targets, strict=True)]
    _print(counts)
    report = {
        "options": given_options(context),
        "trained": not untrained,
        "pictures": len(split),
        "targets": counts,
    }
    _write(folder, influence, report)


def _trained_model(folder: "RunFolder"):
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
    from keras_pixelcnnpp.models.trained_model import load_trained_model

    return load_trained_model(folder.require_model("pixelcnnpp"), PixelCNNPlusPlus)


def _fresh_model(folder: "RunFolder", config: dict):
    from keras_pixelcnnpp.errors import UserError
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

    if "pixelcnnpp" not in config:
        raise UserError(f"{folder.config_json} has no PixelCNN++: only a baseline was trained.")
    try:
        return PixelCNNPlusPlus(**config["pixelcnnpp"]["model"])
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder.config_json} is damaged: pixelcnnpp.model is not that of a PixelCNN++: "
            f"{reason:.200}"
        ) from error


def _print(counts: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for heading in ("row", "column", "earlier", "seen", "at or after, seen", "blind spot seen"):
        table.add_column(heading, justify="right")
    for count in counts:
        table.add_row(
            *(str(count[name]) for name in ("row", "column", "earlier", "seen", "later_seen")),
            f"{count['blind_spot_seen']} of {count['blind_spot']}",
        )
    Console().print(table)


def _write(folder: "RunFolder", influence: "np.ndarray", report: dict) -> None:
    from keras_pixelcnnpp.atomic import atomic_path, write_json
    from keras_pixelcnnpp.receptive_field.figure import receptive_field_png

    with atomic_path(folder.reports / "receptive_field.png") as temporary:
        temporary.write_bytes(receptive_field_png(influence, report["targets"]))
    write_json(folder.reports / "receptive_field.json", report)
    print(f"Wrote receptive_field.png and receptive_field.json to {folder.reports}")
