"""`pixelcnnpp evaluate generation`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keras_pixelcnnpp.generation import ClassSamples, Examination, RealPictures
    from keras_pixelcnnpp.run_folder import RunFolder


def generation(
    context: typer.Context,
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
    data: Annotated[str | None, typer.Option(help="Other data than the run's own.")] = None,
    reference: Annotated[
        str,
        typer.Option(help="Split of real pictures to compare with, or none: only draw."),
    ] = "validation",
    inception_weights: Annotated[
        Path | None,
        typer.Option(help="Weights file of torch-fidelity's Inception, for FID."),
    ] = None,
    temperatures: Annotated[
        str, typer.Option(help="Drawn side by side; empty for none. Each costs a whole set.")
    ] = "0.7,0.85,1,1.15",
    completions: Annotated[
        int, typer.Option(min=0, help="Completions of each of some real pictures.")
    ] = 4,
) -> None:
    """Draw pictures of each class and compare them with real ones.

    Writes samples/Class0_image_01.png and so on; to reports/: generation.json, grids
    samples.png and samples_Class0.png, temperatures.png, and beside real pictures
    nearest_neighbours.png (is it copying?) and completions.png.

    Distances to real pictures are of the features of the run's baseline CNN, or, with
    --inception-weights, of Inception (FID).
    """
    from keras_pixelcnnpp.errors import argument_errors
    from keras_pixelcnnpp.evaluate.given_options import given_options
    from keras_pixelcnnpp.generation import examine, parse_temperatures
    from keras_pixelcnnpp.generation.evaluation import evaluate_generation
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
    from keras_pixelcnnpp.models.trained_model import load_trained_model
    from keras_pixelcnnpp.run_config import require_data
    from keras_pixelcnnpp.run_folder import RunFolder

    folder = RunFolder(run)
    config = folder.read_config()
    require_data(config, "class_names")
    model_file = folder.require_model("pixelcnnpp")
    other_temperatures = parse_temperatures(temperatures)
    real = _real_pictures(config, data, reference, inception_weights)
    baseline, features = _features(folder, config, inception_weights) if real else (None, None)

    model = load_trained_model(model_file, PixelCNNPlusPlus)
    print("Drawing. Compiling the sampler takes some seconds at first.")
    options = {"seed": seed, "temperature": temperature, "guidance": guidance}
    with argument_errors():
        samples, report = evaluate_generation(
            model, config["data"]["class_names"], per_class, **options
        )
    _write_samples(folder, samples)
    _print_report(report)
    print(
        "Comparing with real pictures and at other temperatures" if real else "Other temperatures"
    )
    examination = examine(
        model,
        samples,
        options,
        real=real,
        features=features,
        neighbour_features=baseline,
        mirrored=_mirrored(config),
        temperatures=other_temperatures,
        num_completions=completions,
    )
    report = {"options": given_options(context), **report, **examination.report}
    _write_examination(folder, report, examination)
    _print_examination(examination, features)
    print(f"Wrote pictures to {folder.samples}, grids and generation.json to {folder.reports}")


def _real_pictures(
    config: dict, data: str | None, reference: str, inception_weights: Path | None
) -> "RealPictures | None":
    from keras_pixelcnnpp.errors import UserError
    from keras_pixelcnnpp.generation import RealPictures
    from keras_pixelcnnpp.run_data import load_run_data

    if reference == "none":
        if inception_weights is not None:
            raise UserError("--inception-weights compares with real pictures: give a --reference.")
        return None
    try:
        dataset = load_run_data(config, data)
    except UserError as error:
        raise UserError(f"{error} (--reference none draws without real pictures)") from error
    return RealPictures.of(dataset, reference, config["data"]["class_names"])


def _features(folder: "RunFolder", config: dict, inception_weights: Path | None) -> tuple:
    """The baseline's features and those to measure distances by, each `None` if not there."""
    from keras_pixelcnnpp.generation import BaselineFeatures, InceptionFeatures
    from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
    from keras_pixelcnnpp.models.trained_model import load_trained_model

    baseline = None
    if folder.baseline_keras.exists():
        model = load_trained_model(folder.baseline_keras, BaselineCNN)
        baseline = BaselineFeatures(model)
    if inception_weights is not None:
        return baseline, InceptionFeatures(inception_weights, config["data"]["num_levels"])
    if baseline is not None:
        print(
            "No --inception-weights, so no FID: distances are of the features of "
            f"{folder.baseline_keras.name}."
        )
    else:
        print(
            f"Neither --inception-weights nor {folder.baseline_keras.name}: no distances to real "
            f"pictures. Train it: pixelcnnpp train baseline --data … --run {folder.path}"
        )
    return baseline, baseline


def _mirrored(config: dict) -> bool:
    return bool(config.get("pixelcnnpp", {}).get("options", {}).get("horizontal_flip"))


def _write_samples(folder: "RunFolder", samples: "ClassSamples") -> None:
    from keras_pixelcnnpp.atomic import atomic_path
    from keras_pixelcnnpp.figures import png_bytes
    from keras_pixelcnnpp.file_names import safe_names

    # The whole folder is replaced: no picture of an earlier, larger set may stay among these.
    with atomic_path(folder.samples) as temporary:
        samples.write(temporary)
    by_class = samples.grids()
    names = [f"samples_{name}" for name in safe_names(list(by_class))]
    grids = dict(zip(names, by_class.values(), strict=True))
    for name, grid in {**grids, "samples": samples.overview()}.items():
        with atomic_path(folder.reports / f"{name}.png") as temporary:
            temporary.write_bytes(png_bytes(grid))


def _write_examination(folder: "RunFolder", report: dict, examination: "Examination") -> None:
    from keras_pixelcnnpp.atomic import atomic_path, write_json

    for name in examination.GALLERIES:
        file = folder.reports / f"{name}.png"
        # A picture of an earlier evaluation must not stand beside these numbers.
        file.unlink(missing_ok=True)
        if name in examination.galleries:
            with atomic_path(file) as temporary:
                temporary.write_bytes(examination.galleries[name].png())
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


def _print_examination(examination: "Examination", features) -> None:
    report = examination.report
    if "metrics" in report:
        _print_metrics(report, features.title)
    for size, numbers in report.get("fid", {}).items():
        print(f"FID of {size} dimensions: {_beside(numbers['all'], numbers['floor'])}")
    for space, numbers in report.get("memorisation", {}).items():
        print(
            f"Copying, by {space}: {numbers['share_closer_than_5_percent']:.1%} of the pictures "
            "are closer to a training picture than 95 % of the real ones of "
            f"{report.get('reference', {}).get('split', 'the reference')} are; 5 % is chance."
        )
    if "temperatures" in report:
        _print_temperatures(report["temperatures"])
    for note in examination.notes:
        print(f"Note: {note}")


def _print_metrics(report: dict, title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    reference = report["reference"]
    table = Table(
        title=f"Drawn / as many real training pictures, against {reference['count']} pictures "
        f"of the split {reference['split']}",
        caption=f"Fréchet: {title}",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    names = {"frechet_distance": "Fréchet", "kid": "kernel ×1000"}
    scales = {"kid": 1000}
    table.add_column("class")
    for metric in report["metrics"]["all"]["floor"]:
        table.add_column(names.get(metric, metric), justify="right")
    by_class = {name: numbers for name, numbers in report["metrics"].items() if name != "all"}
    for name, numbers in {**by_class, "all": report["metrics"]["all"]}.items():
        floor = numbers["floor"]
        table.add_row(
            name,
            *(_beside(numbers[metric], floor[metric], scales.get(metric, 1)) for metric in floor),
        )
    Console().print(table)


def _print_temperatures(rows: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Temperatures")
    for heading in ("temperature", "bits/dim", "Fréchet"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row['temperature']:g}",
            f"{row['bits_per_dim']:.4f}",
            "–" if row["frechet_distance"] is None else _short(row["frechet_distance"]),
        )
    Console().print(table)


def _beside(number: float | None, floor: float | None, scale: int = 1) -> str:
    return "/".join("–" if part is None else _short(scale * part) for part in (number, floor))


def _short(number: float) -> str:
    if 0 < abs(number) < 0.01:
        return f"{number:.0e}"
    decimals = 2 if abs(number) < 10 else 1 if abs(number) < 100 else 0
    return f"{number:.{decimals}f}"
