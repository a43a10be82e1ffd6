"""`evaluate generation`: pictures drawn of each class, examined, written and told of."""

import time
from pathlib import Path

from rich.box import SIMPLE_HEAD

from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.errors import UserError, argument_errors
from keras_pixelcnnpp.evaluate.classification import load_baseline
from keras_pixelcnnpp.evaluate.examination import Examination, examine, measure, parse_temperatures
from keras_pixelcnnpp.evaluate.features import BaselineFeatures, Features, InceptionFeatures
from keras_pixelcnnpp.evaluate.fidelity import RealPictures
from keras_pixelcnnpp.evaluate.figures import print_table
from keras_pixelcnnpp.files import atomic_path, safe_names, write_bytes, write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.run import RunFolder, require_data
from keras_pixelcnnpp.sampling.class_samples import ClassSamples


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
    verbose: int,
) -> None:
    """Draws pictures of each class, holds them against real ones, writes and prints it all."""
    config = folder.read_config()
    class_names = require_data(config, "class_names")["class_names"]
    model_file = folder.require_model("pixelcnnpp")
    other_temperatures = parse_temperatures(temperatures)
    real = _real_pictures(folder, class_names, data, reference, inception_weights)
    baseline = features = None
    if real is not None:
        baseline, features = _features(folder, config, inception_weights, verbose)

    model = load_trained_model(model_file)
    print("Drawing. Compiling the sampler takes some seconds at first.")
    drawn_with = {"seed": seed, "temperature": temperature, "guidance": guidance}
    start = time.perf_counter()
    with argument_errors():
        samples = ClassSamples.draw(model, class_names, per_class, verbose=verbose, **drawn_with)
    seconds = time.perf_counter() - start
    report = {
        "options": options,
        "per_class": per_class,
        **drawn_with,
        "seconds": round(seconds, 3),
        "images_per_second": round(len(samples) / seconds, 3),
        **measure(model, samples, verbose),
    }
    _write_samples(folder, samples)
    print_table(
        ("class", "pictures", "bits/dim"),
        [
            (name, str(numbers["count"]), f"{numbers['bits_per_dim']:.4f}")
            for name, numbers in {**report["classes"], "all": report}.items()
        ],
        title=f"{report['count']} pictures in {report['seconds']:.1f} s",
    )
    if real is not None:
        print("Comparing with real pictures and at other temperatures")
    examination = examine(
        model,
        samples,
        drawn_with,
        real=real,
        features=features,
        neighbour_features=baseline,
        mirrored=bool(config.get("pixelcnnpp", {}).get("options", {}).get("horizontal_flip")),
        temperatures=other_temperatures,
        num_completions=completions,
        verbose=verbose,
    )
    _write_galleries(folder, examination)
    write_json(folder.reports / "generation.json", {**report, **examination.report})
    _print_examination(examination, features)
    print(f"Wrote pictures to {folder.samples}, grids and generation.json to {folder.reports}")


def _real_pictures(
    folder: RunFolder,
    class_names: list[str],
    data: str | None,
    reference: str,
    inception_weights: Path | None,
) -> RealPictures | None:
    if reference == "none":
        if inception_weights is not None:
            raise UserError("--inception-weights compares with real pictures: give a --reference.")
        return None
    try:
        dataset = folder.load_data(data)
    except UserError as error:
        raise UserError(f"{error} (--reference none draws without real pictures)") from error
    return RealPictures.of(dataset, reference, class_names, folder.training_pictures(dataset))


def _features(
    folder: RunFolder, config: dict, inception_weights: Path | None, verbose: int
) -> tuple[BaselineFeatures | None, Features | None]:
    """The baseline's features and those to measure distances by, each `None` if not there."""
    cnn = load_baseline(folder)
    baseline = None if cnn is None else BaselineFeatures(cnn, verbose=verbose)
    if inception_weights is not None:
        num_levels = config["data"]["num_levels"]
        return baseline, InceptionFeatures(inception_weights, num_levels, verbose=verbose)
    if baseline is None:
        print("Without it and without --inception-weights: no distances to real pictures.")
    else:
        print(
            "No --inception-weights, so no FID: distances are of the features of "
            f"{folder.baseline_keras.name}."
        )
    return baseline, baseline


def _write_samples(folder: RunFolder, samples: ClassSamples) -> None:
    # The whole folder is replaced: no picture of an earlier, larger set may stay among these.
    with atomic_path(folder.samples) as temporary:
        samples.write(temporary)
    by_class = samples.grids()
    names = [f"samples_{name}" for name in safe_names(list(by_class))]
    grids = dict(zip(names, by_class.values(), strict=True))
    for name, grid in {**grids, "samples": samples.overview()}.items():
        write_bytes(folder.reports / f"{name}.png", png_bytes(grid))


def _write_galleries(folder: RunFolder, examination: Examination) -> None:
    for name in examination.GALLERIES:
        file = folder.reports / f"{name}.png"
        # A picture of an earlier evaluation must not stand beside these numbers.
        file.unlink(missing_ok=True)
        if name in examination.galleries:
            write_bytes(file, examination.galleries[name].png())


def _print_examination(examination: Examination, features: Features | None) -> None:
    report = examination.report
    if "metrics" in report:
        _print_metrics(report, features.title)
    if named := report.get("named_rightly"):
        print(
            f"The baseline CNN names {named['drawn']['accuracy']:.1%} of the pictures by their "
            f"class, and {named['real']['accuracy']:.1%} of the real ones."
        )
    for size, numbers in report.get("fid", {}).items():
        print(f"FID of {size} dimensions: {_beside(numbers['all'], numbers['floor'])}")
    for space, numbers in report.get("memorisation", {}).items():
        print(
            f"Copying, by {space}: {numbers['share_closer_than_5_percent']:.1%} of the pictures "
            "are closer to a training picture than 95 % of the real ones of "
            f"{report.get('reference', {}).get('split', 'the reference')} are; 5 % is chance."
        )
    if "temperatures" in report:
        print_table(
            ("temperature", "bits/dim", "Fréchet", "kernel ×1000", "named rightly"),
            [
                (
                    f"{row['temperature']:g}",
                    f"{row['bits_per_dim']:.4f}",
                    _short(row["frechet_distance"]),
                    _short(row["kid"], 1000),
                    "–" if row["named_rightly"] is None else f"{row['named_rightly']:.1%}",
                )
                for row in report["temperatures"]
            ],
            title="Temperatures",
        )
    for note in examination.notes:
        print(f"Note: {note}")


def _print_metrics(report: dict, title: str) -> None:
    reference, metrics = report["reference"], dict(report["metrics"])
    metrics["all"] = metrics.pop("all")  # in the end
    names = {"frechet_distance": "Fréchet", "kid": "kernel ×1000"}
    scales = {"kid": 1000}
    rows = [
        (
            name,
            *(
                _beside(numbers[metric], floor, scales.get(metric, 1))
                for metric, floor in numbers["floor"].items()
            ),
        )
        for name, numbers in metrics.items()
    ]
    print_table(
        ("class", *(names.get(metric, metric) for metric in metrics["all"]["floor"])),
        rows,
        title=f"Drawn / as many real training pictures, against {reference['count']} pictures "
        f"of the split {reference['split']}",
        caption=f"Fréchet: {title}",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )


def _beside(number: float | None, floor: float | None, scale: int = 1) -> str:
    return f"{_short(number, scale)}/{_short(floor, scale)}"


def _short(number: float | None, scale: int = 1) -> str:
    if number is None:
        return "–"
    number *= scale
    if 0 < abs(number) < 0.01:
        return f"{number:.0e}"
    decimals = 2 if abs(number) < 10 else 1 if abs(number) < 100 else 0
    return f"{number:.{decimals}f}"
