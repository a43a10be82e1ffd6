"""`pixelcnnpp evaluate generation`."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.errors import UserError, argument_errors
from keras_pixelcnnpp.evaluate.examination import Examination, examine, measure, parse_temperatures
from keras_pixelcnnpp.evaluate.features import BaselineFeatures, InceptionFeatures
from keras_pixelcnnpp.evaluate.fidelity import RealPictures
from keras_pixelcnnpp.files import atomic_path, safe_names, write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.run import RunFolder, require_data
from keras_pixelcnnpp.sampling.class_samples import ClassSamples


def _real_pictures(
    folder: RunFolder, data: str | None, reference: str, inception_weights: Path | None
) -> "RealPictures | None":

    if reference == "none":
        if inception_weights is not None:
            raise UserError("--inception-weights compares with real pictures: give a --reference.")
        return None
    try:
        dataset = folder.load_data(data)
    except UserError as error:
        raise UserError(f"{error} (--reference none draws without real pictures)") from error
    return RealPictures.of(dataset, reference, folder.read_config()["data"]["class_names"])


def _features(folder: "RunFolder", config: dict, inception_weights: Path | None) -> tuple:
    """The baseline's features and those to measure distances by, each `None` if not there."""
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

    for name in examination.GALLERIES:
        file = folder.reports / f"{name}.png"
        # A picture of an earlier evaluation must not stand beside these numbers.
        file.unlink(missing_ok=True)
        if name in examination.galleries:
            with atomic_path(file) as temporary:
                temporary.write_bytes(examination.galleries[name].png())
    write_json(folder.reports / "generation.json", report)


def _print_report(report: dict) -> None:

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


def evaluate_generation(
    model,
    class_names: Sequence[str],
    per_class: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    guidance: float = 0.0,
) -> tuple[ClassSamples, dict]:
    """Draws pictures of each class and measures them.

    Args:
        model: A trained `PixelCNNPlusPlus`.
        class_names: The name of each class.
        per_class: How many pictures of each.
        seed: As in `PixelCNNPlusPlus.sample`, and so the others.
        temperature: Number above 0.
        guidance: Number of at least 0.

    Returns:
        The pictures and the report: what was asked for, `seconds` (with compilation),
        `images_per_second`, and for all pictures and each class `count` and `bits_per_dim`. That
        is of `p(x | y)`, the picture's own class; at temperature 1 it estimates the entropy of
        the model, which a good model's bits/dim on real pictures are close to.
    """
    start = time.perf_counter()
    samples = ClassSamples.draw(
        model,
        class_names,
        per_class,
        seed=seed,
        temperature=temperature,
        guidance=guidance,
    )
    seconds = time.perf_counter() - start
    report = {
        "per_class": per_class,
        "seed": seed,
        "temperature": temperature,
        "guidance": guidance,
        "seconds": round(seconds, 3),
        "images_per_second": round(len(samples) / seconds, 3),
        **measure(model, samples),
    }
    return samples, report


def draw_and_measure(
    folder: RunFolder,
    *,
    per_class: int,
    seed: int,
    temperature: float,
    guidance: float,
    data: str | None,
    reference: str,
    inception_weights: Path | None,
    temperatures: str,
    completions: int,
    options: dict,
) -> None:
    """Draws pictures of each class, holds them against real ones, writes and prints it all."""
    config = folder.read_config()
    require_data(config, "class_names")
    model_file = folder.require_model("pixelcnnpp")
    other_temperatures = parse_temperatures(temperatures)
    real = _real_pictures(folder, data, reference, inception_weights)
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
    report = {"options": options, **report, **examination.report}
    _write_examination(folder, report, examination)
    _print_examination(examination, features)
    print(f"Wrote pictures to {folder.samples}, grids and generation.json to {folder.reports}")
