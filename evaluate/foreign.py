"""`pixelcnnpp evaluate foreign`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keras_pixelcnnpp.classification import BaselineClassifier
    from keras_pixelcnnpp.run_folder import RunFolder


HEADINGS = {
    "log_likelihood": "log p(x)",
    "complexity_corrected": "corrected",
    "pixelcnnpp_max_softmax": "p(y|x)",
    "baseline_max_softmax": "CNN p(y|x)",
}


def foreign(
    context: typer.Context,
    run: Annotated[Path, typer.Option(help="The run folder.")],
    data: Annotated[str | None, typer.Option(help="Other data than the run's own.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    count: Annotated[int, typer.Option(min=2, help="Pictures of each kind, at most.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same pictures.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = 32,
) -> None:
    """Tell pictures like those of the training from foreign ones.

    By log p(x), by log p(x) corrected for the complexity of a picture (the size of its PNG file),
    and by the largest class probability. Writes reports/foreign.json and reports/foreign.png.
    """
    import numpy as np

    from keras_pixelcnnpp.atomic import atomic_path, write_json
    from keras_pixelcnnpp.evaluate.given_options import given_options
    from keras_pixelcnnpp.foreign import Detection, foreign_inputs
    from keras_pixelcnnpp.foreign.figure import foreign_png
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
    from keras_pixelcnnpp.models.trained_model import load_trained_model
    from keras_pixelcnnpp.run_data import load_run_data
    from keras_pixelcnnpp.run_folder import RunFolder

    folder = RunFolder(run)
    config = folder.read_config()
    path = folder.require_model("pixelcnnpp")
    dataset = load_run_data(config, data)
    images = dataset.split(split).images
    # A split may be sorted by class.
    order = np.random.default_rng(seed).permutation(len(images))
    images = images[order[:count]]
    inputs = foreign_inputs(images, dataset.num_levels, config["data"]["source"], seed)
    model = load_trained_model(path, PixelCNNPlusPlus)
    print(f"Scoring {len(images)} pictures of the split {split} and {len(inputs)} foreign sets")
    detection = Detection.run(
        images, inputs, model, _baseline(folder), batch_size, int(sys.stdout.isatty())
    )
    png = foreign_png(detection, images, inputs, dataset.num_levels, f"split {split}")
    with atomic_path(folder.reports / "foreign.png") as temporary:
        temporary.write_bytes(png)
    report = {
        "options": given_options(context),
        "split": split,
        "seed": seed,
        **detection.report(),
    }
    write_json(folder.reports / "foreign.json", report)
    _print_report(report)
    print(f"Wrote foreign.json and foreign.png to {folder.reports}")


def _baseline(folder: "RunFolder") -> "BaselineClassifier | None":
    from keras_pixelcnnpp.classification import BaselineClassifier
    from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
    from keras_pixelcnnpp.models.trained_model import load_trained_model

    if folder.baseline_keras.exists():
        return BaselineClassifier(load_trained_model(folder.baseline_keras, BaselineCNN))
    print(
        f"No {folder.baseline_keras.name} to compare with. "
        f"Train it: pixelcnnpp train baseline --data … --run {folder.path}"
    )
    return None


def _print_report(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="AUROC of foreign pictures against familiar ones; 0.5 is guessing",
        caption="corrected: log p(x) and the size as PNG; p(y|x): the largest probability",
    )
    table.add_column("")
    table.add_column("bits/dim", justify="right")
    for detector in report["detectors"]:
        table.add_column(HEADINGS[detector], justify="right")
    dashes = ["–"] * len(report["detectors"])
    table.add_row(f"split {report['split']}", f"{report['familiar']['bits_per_dim']:.3f}", *dashes)
    for name, numbers in report["inputs"].items():
        areas = [f"{area:.3f}" for area in numbers["auroc"].values()]
        table.add_row(name, f"{numbers['bits_per_dim']:.3f}", *areas)
    table.add_row("mean", "", *(f"{area:.3f}" for area in report["mean_auroc"].values()))
    Console().print(table)
