"""`evaluate generation`: images sampled of each class, written, and held against real ones."""

import time

import numpy as np

from keras_pixelcnnpp.checks import require_temperature
from keras_pixelcnnpp.data.dataset import LabelledImages
from keras_pixelcnnpp.data.images import png_bytes, to_pixels
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import UserError, argument_errors
from keras_pixelcnnpp.evaluate.classification import load_baseline
from keras_pixelcnnpp.evaluate.fidelity import (
    MOST_ROWS,
    Comparison,
    nearest_gallery,
    nearest_training,
    reference_images,
)
from keras_pixelcnnpp.evaluate.figures import gallery_png, print_table
from keras_pixelcnnpp.evaluate.metrics.pictures import FIDELITY_METRICS
from keras_pixelcnnpp.files import atomic_path, safe_names, write_bytes, write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.run import RunFolder, require_data
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

GALLERIES = ("nearest_neighbours", "completions", "temperatures")
SUMMARY = ("frechet_distance", "kid", "named_rightly")
MOST_COLUMNS = 10
UNKNOWN = 200  # the gray of what the model doesn't see


def draw_and_measure(
    folder: RunFolder,
    *,
    per_class: int,
    seed: int,
    temperature: float,
    guidance: float,
    data: str | None,
    reference: str,
    temperatures: str,
    completions: int,
    options: dict,
    verbose: int,
) -> None:
    """Samples images of each class, holds them against real ones, writes and prints it all."""
    config = folder.read_config()
    class_names = require_data(config, "class_names")["class_names"]
    model_file = folder.require_model("pixelcnnpp")
    other_temperatures = parse_temperatures(temperatures)
    real = cnn = comparison = None
    if reference != "none":
        dataset = folder.load_data(data)
        real = reference_images(dataset, reference)
        cnn = load_baseline(folder)
    model = load_trained_model(model_file)
    drawn_with = {"seed": seed, "temperature": temperature, "guidance": guidance}

    def sample(temperature: float) -> ClassSamples:
        arguments = {**drawn_with, "temperature": temperature, "verbose": verbose}
        return ClassSamples.draw(model, class_names, per_class, **arguments)

    print("Sampling. Compiling the sampler takes some seconds at first.")
    start = time.perf_counter()
    with argument_errors():
        samples = sample(temperature)
    seconds = time.perf_counter() - start
    report = {
        "options": options,
        "per_class": per_class,
        **drawn_with,
        "seconds": round(seconds, 3),
        "images_per_second": round(len(samples) / seconds, 3),
        **likelihoods(model, samples, verbose),
    }
    _write_samples(folder, samples)
    galleries = {}
    if cnn is not None:
        train, by_class = dataset.split("train"), model.num_classes > 0
        comparison = Comparison(cnn, real, train, samples, by_class, seed)
        report["reference"] = {"split": reference, "count": len(real)}
        report |= comparison.report(samples)
    if real is not None:
        train = folder.training_pictures(dataset).images
        if config.get("pixelcnnpp", {}).get("options", {}).get("horizontal_flip"):
            train = np.concatenate([train, train[:, :, ::-1]])
        report["memorisation"], found = nearest_training(samples, train, real.images, cnn)
        galleries["nearest_neighbours"] = nearest_gallery(samples, train, found)
        if completions and (not model.num_classes or (real.labels >= 0).all()):
            arguments = {"verbose": verbose, **drawn_with}
            completed = complete_images(model, real, class_names, completions, **arguments)
            galleries["completions"] = completed
    if other_temperatures:
        sets = {t: samples if t == temperature else sample(t) for t in other_temperatures}
        report["temperatures"] = [
            {
                "temperature": each,
                "bits_per_dim": likelihoods(model, drawn, verbose)["bits_per_dim"],
                **(comparison.summary(drawn) if comparison else dict.fromkeys(SUMMARY)),
            }
            for each, drawn in sets.items()
        ]
        galleries["temperatures"] = temperatures_gallery(sets)
    for name in GALLERIES:
        file = folder.reports / f"{name}.png"
        # An image of an earlier evaluation must not stand beside these numbers.
        file.unlink(missing_ok=True)
        if name in galleries:
            write_bytes(file, gallery_png(*galleries[name]))
    write_json(folder.reports / "generation.json", report)
    _print_report(report)
    print(f"Wrote images to {folder.samples}, grids and generation.json to {folder.reports}")


def parse_temperatures(text: str) -> list[float]:
    """Reads `"1, 0.7"` as `[0.7, 1.0]`; an empty text has none."""
    try:
        temperatures = sorted({float(part) for part in text.split(",") if part.strip()})
        for temperature in temperatures:
            require_temperature(temperature)
    except ValueError as error:
        raise UserError(
            f"Temperatures are numbers above 0 with commas between them. Received: {text!r}"
        ) from error
    return temperatures


def likelihoods(model: AutoregressiveModel, samples: ClassSamples, verbose: int = 0) -> dict:
    """`count` and `bits_per_dim`, of p(x | y) under the own class, of all and in `classes` of each.

    At temperature 1 it estimates the model's entropy, which a good model's bits/dim on real
    images are close to.
    """
    labels = samples.labels if model.num_classes else None
    log_prob = model.log_prob(samples.levels, labels, verbose=verbose)
    bits = bits_per_dim(log_prob, model.image_shape)
    classes = {}
    for label in np.unique(samples.labels):
        of_class = bits[samples.labels == label]
        numbers = {"count": len(of_class), "bits_per_dim": float(of_class.mean())}
        classes[samples.class_names[label]] = numbers
    return {"count": len(bits), "bits_per_dim": float(bits.mean()), "classes": classes}


def temperatures_gallery(sets: dict[float, ClassSamples]) -> tuple:
    """A row for each temperature, with the first images of each class, for `gallery_png`."""
    rows = []
    for samples in sets.values():
        classes = list(samples.by_class())[:MOST_COLUMNS]
        each = max(1, MOST_COLUMNS // len(classes))
        rows.append(np.concatenate([pixels[:each] for _, pixels in classes]))
    columns = []
    for name, pixels in classes:
        columns += [name, *[""] * (len(pixels[:each]) - 1)]
    return np.stack(rows), [f"temperature {temperature:g}" for temperature in sets], columns


def complete_images(
    model: AutoregressiveModel,
    real: LabelledImages,
    class_names: list[str],
    count: int,
    **arguments,
) -> tuple:
    """Keeps the upper half of a real image of each class and completes it `count` times.

    Of an unconditional model the first images. The result is for `gallery_png`.
    """
    _, rows = np.unique(real.labels, return_index=True)
    images = real.take(rows[:MOST_ROWS] if model.num_classes else slice(MOST_ROWS))
    labels = np.repeat(images.labels, count) if model.num_classes else None
    half = model.image_shape[0] // 2
    completed = model.complete(np.repeat(images.images, count, axis=0), half, labels, **arguments)
    completed = completed.reshape(len(images), count, *model.image_shape)
    original = to_pixels(images.images, model.num_levels)[:, np.newaxis]
    given = original.copy()
    given[:, :, half:] = UNKNOWN
    return (
        np.concatenate([original, given, to_pixels(completed, model.num_levels)], axis=1),
        [class_names[label] if label >= 0 else "" for label in images.labels],
        ["real", "given", "completions", *[""] * (count - 1)],
    )


def _write_samples(folder: RunFolder, samples: ClassSamples) -> None:
    # The whole folder is replaced: no image of an earlier, larger set may stay among these.
    with atomic_path(folder.samples) as temporary:
        samples.write(temporary)
    by_class = samples.grids()
    names = [f"samples_{name}" for name in safe_names(list(by_class))]
    grids = dict(zip(names, by_class.values(), strict=True))
    for name, grid in {**grids, "samples": samples.overview()}.items():
        write_bytes(folder.reports / f"{name}.png", png_bytes(grid))


def _print_report(report: dict) -> None:
    rows = [
        (name, str(numbers["count"]), _short(numbers["bits_per_dim"]))
        for name, numbers in (*report["classes"].items(), ("all", report))
    ]
    title = f"{report['count']} images in {report['seconds']:.1f} s"
    print_table(("class", "images", "bits/dim"), rows, title=title)
    if "metrics" in report:
        rows = [
            (name, *(f"{_short(of[m])} / {_short(of['floor'][m])}" for m in FIDELITY_METRICS))
            for name, of in report["metrics"].items()
        ]
        reference = f"{report['reference']['count']} images of {report['reference']['split']}"
        title = f"Sampled / as many real training images, against {reference}"
        caption = "of the features of the baseline CNN, so no FID"
        print_table(("class", *FIDELITY_METRICS), rows, title=title, caption=caption)
    if named := report.get("named_rightly"):
        print(
            f"The baseline CNN names {named['drawn']['accuracy']:.1%} of the images by their "
            f"class, and {named['real']['accuracy']:.1%} of the real ones."
        )
    for space, numbers in report.get("memorisation", {}).items():
        print(
            f"Copying, by {space}: {numbers['share_closer_than_5_percent']:.1%} of the images "
            "are closer to a training image than 95 % of the held-out ones are; 5 % is chance."
        )
    if "temperatures" in report:
        names = ("temperature", "bits_per_dim", *SUMMARY)
        rows = [[_short(row[name]) for name in names] for row in report["temperatures"]]
        print_table(names, rows, title="Temperatures")


def _short(number: float | None) -> str:
    return "–" if number is None else f"{number:.3g}"
