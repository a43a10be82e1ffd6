"""`pixelcnnpp evaluate generation`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keras_pixelcnnpp.generation import ClassSamples
    from keras_pixelcnnpp.run_folder import RunFolder


def generation(
    run: Annotated[Path, typer.Option(help="The run folder.")],
    per_class: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 25,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same pictures.")] = 0,
    temperature: Annotated[
        float, typer.Option(help="Above 0; below 1, safer and smoother pictures.")
    ] = 1.0,
    guidance: Annotated[
        float,
        typer.Option(help="Exaggerates the class; for models trained with label dropout."),
    ] = 0.0,
) -> None:
    """Draw pictures of each class.

    Writes samples/Class0_image_01.png and so on, grids of them to reports/samples.png and
    reports/samples_Class0.png, and reports/generation.json.
    """
    import keras

    import keras_pixelcnnpp.models.pixelcnnpp  # noqa: F401 - registers the class
    from keras_pixelcnnpp.errors import argument_errors
    from keras_pixelcnnpp.generation.evaluation import evaluate_generation
    from keras_pixelcnnpp.run_folder import RunFolder

    folder = RunFolder(run)
    class_names = folder.read_config()["data"]["class_names"]
    model = keras.models.load_model(folder.require_model("pixelcnnpp"), compile=False)
    print("Drawing. Compiling the sampler takes some seconds at first.")
    with argument_errors():
        samples, report = evaluate_generation(
            model,
            class_names,
            per_class,
            seed=seed,
            temperature=temperature,
            guidance=guidance,
        )
    _write(folder, samples, report)
    _print_report(report)
    print(f"Wrote pictures to {folder.samples}, grids and generation.json to {folder.reports}")


def _write(folder: "RunFolder", samples: "ClassSamples", report: dict) -> None:
    from keras_pixelcnnpp.atomic import atomic_path, write_json
    from keras_pixelcnnpp.figures import png_bytes
    from keras_pixelcnnpp.file_names import safe_name

    # The whole folder is replaced: no picture of an earlier, larger set may stay among these.
    with atomic_path(folder.samples) as temporary:
        samples.write(temporary)
    grids = {f"samples_{safe_name(name)}": grid for name, grid in samples.grids().items()}
    for name, grid in {**grids, "samples": samples.overview()}.items():
        with atomic_path(folder.reports / f"{name}.png") as temporary:
            temporary.write_bytes(png_bytes(grid))
    write_json(folder.reports / "generation.json", report)


def _print_report(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report['count']} pictures in {report['seconds']:.1f} s")
    table.add_column("class")
    table.add_column("pictures", justify="right")
    table.add_column("bits/dim", justify="right")
    for name, numbers in {**report["classes"], "all": report}.items():
        table.add_row(name, str(numbers["count"]), f"{numbers['bits_per_dim']:.4f}")
    Console().print(table)
