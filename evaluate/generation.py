"""`evaluate generation`: samples images of each class, and compares them with real images."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from rich.box import SIMPLE_HEAD

from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.data.images import UNKNOWN_GRAY, png_bytes
from keras_pixelcnnpp.distributions.bits import bits_per_dim, bits_unit
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.evaluate.figures import gallery_png, print_table
from keras_pixelcnnpp.evaluate.measurements.generation import GenerationOptions
from keras_pixelcnnpp.evaluate.metrics.classifiers import classification_metrics
from keras_pixelcnnpp.evaluate.metrics.images import (
    FIDELITY_METRICS,
    fidelity_metrics,
    memorization,
    nearest_neighbors,
)
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import SAMPLING, ClassSamples
from keras_pixelcnnpp.utils.backend import full_float32
from keras_pixelcnnpp.utils.checks import checked_images, require_temperature
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import atomic_files, counted, safe_names, write_bytes

SUMMARY = ("frechet_distance", "kid", "class_consistency")
MAX_ROWS = MAX_COLUMNS = 10  # of a gallery
NEIGHBORS = 3  # shown next to each image, for each distance


def measure(subject: Subject, options: GenerationOptions, folder: Path) -> dict:
    """Samples images of each class, compares them with real images, and returns the metrics."""
    if (subject.samples / SAMPLING).exists():
        raise UserError(
            f"{subject.samples} has images that `pixelcnnpp sample` wrote, which would be "
            "replaced. Move them to another folder"
        )
    temperatures = parse_temperatures(options.temperatures)
    real = cnn = comparison = None
    if not options.samples_only:
        real, cnn = reference_images(subject.dataset, subject.split), subject.cnn
    model = subject.model
    how = {"seed": options.seed, **options.of_sampler()}

    def sample(temperature: float) -> ClassSamples:
        return ClassSamples.sample(model, options.per_class, **{**how, "temperature": temperature})

    print("Sampling. The sampler is compiled first, which takes some seconds.")
    start = time.perf_counter()
    samples = sample(options.temperature)
    seconds = time.perf_counter() - start
    report = {
        "per_class": options.per_class,
        **how,
        "seconds": round(seconds, 3),
        "count": len(samples),
        "bits_per_dim": mean_bits_per_dim(model, samples),
        "num_levels": model.num_levels,
    }
    galleries = {}
    if real is not None:
        report["reference"] = {"split": subject.split, "count": len(real)}
        # Quantized as the model sees them; otherwise no sample could equal a training image.
        train = subject.training_images(subject.dataset)
        train = replace(train, images=quantize(train.images, model.num_levels))
        if cnn is not None:
            by_class = model.num_classes > 0
            comparison = Comparison(cnn, real, train, samples, by_class, options.seed)
            report |= comparison.report(samples)
        if len(train):
            known, unseen = train.images, quantize(real.images, model.num_levels)
            if subject.config["pixelcnnpp"]["options"].get("horizontal_flip"):
                known = np.concatenate([known, known[:, :, ::-1]])
            report["memorization"], found = nearest_training(samples, known, unseen, cnn)
            galleries["nearest_neighbors"] = nearest_gallery(samples, known, found)
        if options.completions and (not model.num_classes or (real.labels >= 0).all()):
            completed = complete_images(model, real, options.completions, **how)
            galleries["completions"] = completed
    if temperatures:
        sets = {t: samples if t == options.temperature else sample(t) for t in temperatures}
        report["temperatures"] = [
            {
                "temperature": each,
                "bits_per_dim": mean_bits_per_dim(model, sampled),
                **(comparison.summary(sampled) if comparison else dict.fromkeys(SUMMARY)),
            }
            for each, sampled in sets.items()
        ]
        galleries["temperatures"] = temperatures_gallery(sets)
    for name, gallery in galleries.items():
        write_bytes(folder / f"{name}.png", gallery_png(*gallery))
    _write_grids(folder, samples)
    with atomic_files(subject.samples, ["*_image_*.png"]) as images:
        samples.write(images)
    _print_report(report, samples.class_names)
    say(f"Wrote images to {subject.samples}")
    return report


def parse_temperatures(text: str) -> list[float]:
    """Parses and sorts temperatures: `"1, 0.7"` gives `[0.7, 1.0]`, and an empty text `[]`."""
    try:
        temperatures = sorted({float(part) for part in text.split(",") if part.strip()})
        for temperature in temperatures:
            require_temperature(temperature)
    except ValueError as error:
        raise UserError(
            "Invalid value for option --temperatures. Expected numbers above 0, separated by "
            f"commas. Received: {text!r}"
        ) from error
    return temperatures


def mean_bits_per_dim(model: AutoregressiveModel, samples: ClassSamples) -> float:
    """Returns the mean bits/dim of samples under their own class: at T = 1, the model's entropy."""
    labels = samples.labels if model.num_classes else None
    log_prob = model.log_prob(samples.images, labels)
    return float(bits_per_dim(log_prob, model.image_shape).mean())


def temperatures_gallery(sets: dict[float, ClassSamples]) -> tuple:
    """Arranges the first images of each class in one row per temperature, for `gallery_png`."""
    rows = []
    for samples in sets.values():
        classes = list(samples.by_class())[:MAX_COLUMNS]
        each = max(1, MAX_COLUMNS // len(classes))
        rows.append(np.concatenate([pixels[:each] for _, pixels in classes]))
    columns = []
    for name, pixels in classes:
        columns += [name, *[""] * (len(pixels[:each]) - 1)]
    return np.stack(rows), [f"temperature {temperature:g}" for temperature in sets], columns


def complete_images(
    model: AutoregressiveModel, real: LabeledImages, count: int, **how: Any
) -> tuple:
    """Completes the upper half of one real image of each class `count` times, for `gallery_png`.

    An unconditional model completes the first images.
    """
    _, rows = np.unique(real.labels, return_index=True)
    images = real.take(rows[:MAX_ROWS] if model.num_classes else slice(MAX_ROWS))
    labels = np.repeat(images.labels, count) if model.num_classes else None
    half = model.image_shape[0] // 2
    completed = model.complete(np.repeat(images.images, count, axis=0), half, labels, **how)
    completed = completed.reshape(len(images), count, *model.image_shape)
    original = images.images[:, np.newaxis]
    given = original.copy()
    given[:, :, half:] = UNKNOWN_GRAY
    return (
        np.concatenate([original, given, completed], axis=1),
        [model.class_names[label] if model.num_classes else "" for label in images.labels],
        ["real", "given", "completions", *[""] * (count - 1)],
    )


@full_float32()
def baseline_features(model: BaselineCNN, images: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Returns the features before the last layer of a CNN, float64 `[count, widths[-1]]`."""
    images = checked_images(images, model.image_shape)
    found = np.zeros((len(images), model.widths[-1]))
    for start in range(0, len(images), batch_size):  # sklearn's gen_batches refuses no images
        rows = slice(start, start + batch_size)
        features = model.features(images[rows], training=False)
        found[rows] = ops.convert_to_numpy(ops.cast(features, "float32"))
    return found


def reference_images(dataset: Dataset, split: str) -> LabeledImages:
    """Returns the labeled images of a split, or all images if none is labeled."""
    has_labels = bool((dataset.split(split).labels >= 0).any())
    return dataset.images(split, with_labels=has_labels)


def real_reference_images(
    train: LabeledImages, labels: np.ndarray, by_class: bool = True, seed: int = 0
) -> LabeledImages:
    """Chooses random training images with the same number per class as `labels`, if available."""
    order = np.random.default_rng(seed).permutation(len(train))
    if not by_class:
        return train.take(order[: len(labels)])
    rows = [
        order[train.labels[order] == label][:count]
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
    ]
    return train.take(np.concatenate(rows))


class Comparison:
    """Compares samples with `reference` images by features of a CNN, for each class and overall.

    The distance between two finite sets is never 0 and depends on their sizes, so each metric is
    also reported for equally many images of `train`. All sets of samples have the same labels.
    """

    def __init__(
        self,
        cnn: BaselineCNN,
        reference: LabeledImages,
        train: LabeledImages,
        samples: ClassSamples,
        by_class: bool = True,
        seed: int = 0,
    ):
        self.cnn = cnn
        self.reference = reference
        self.has_names = by_class and bool((reference.labels >= 0).any())
        reals = real_reference_images(train, samples.labels, by_class, seed)
        self._real = baseline_features(cnn, reference.images), reference.labels
        self._real_reference = baseline_features(cnn, reals.images), reals.labels
        # A class called "all" must not replace the entry of all classes.
        self._groups = {"all": None}
        for label in np.unique(samples.labels) if by_class else ():
            self._groups.setdefault(samples.class_names[label], label)

    def report(self, samples: ClassSamples) -> dict:
        """Returns the metrics of all classes and of each, and the class consistency, for JSON."""
        generated = baseline_features(self.cnn, samples.images), samples.labels
        report = {
            "features": {"name": "baseline_cnn", "dimensions": self.cnn.widths[-1]},
            "metrics": {
                name: self._metrics(generated, label) for name, label in self._groups.items()
            },
        }
        if self.has_names:
            report["class_consistency"] = {
                "chance": 1 / len(samples.class_names),
                "sampled": class_consistency(self.cnn, samples.images, samples.labels),
                "real": class_consistency(self.cnn, self.reference.images, self.reference.labels),
            }
        return report

    def _metrics(self, generated: tuple[np.ndarray, np.ndarray], label: int | None) -> dict:
        real, training, generated = (
            features if label is None else features[labels == label]
            for features, labels in (self._real, self._real_reference, generated)
        )
        # Metrics of fewer images would not be comparable.
        training = training if len(training) == len(generated) else training[:0]
        reference = fidelity_metrics(real, training)
        return {**fidelity_metrics(real, generated), "real_reference": reference}

    def summary(self, samples: ClassSamples) -> dict[str, float | None]:
        """Returns the metrics in `SUMMARY` for all classes together."""
        numbers = fidelity_metrics(self._real[0], baseline_features(self.cnn, samples.images))
        named = self.has_names and class_consistency(self.cnn, samples.images, samples.labels)
        numbers["class_consistency"] = named["accuracy"] if named else None
        return {name: numbers[name] for name in SUMMARY}


def class_consistency(cnn: BaselineCNN, images: np.ndarray, labels: np.ndarray) -> dict:
    """Returns how well a CNN trained on real images recognizes the classes of samples."""
    probabilities = cnn.class_probabilities(images)
    predicted = np.unique(probabilities.argmax(axis=1)).tolist()
    metrics = classification_metrics(labels, probabilities)
    return {"count": len(labels), "predicted_labels": predicted, **metrics}


def nearest_training(
    samples: ClassSamples, train: np.ndarray, held_out: np.ndarray, cnn: BaselineCNN | None = None
) -> tuple[dict[str, dict], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Finds the nearest training images of samples, to detect copies. All images are uint8.

    Distances are between `"pixels"`, as the root mean square error in [0, 1], and, with a CNN,
    between `"features"`, which find shifted copies. For each, returns the result of `memorization`
    and of `nearest_neighbors`.
    """

    def pixels(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype("float32")
        return flat / (255 * math.sqrt(flat.shape[1]))

    spaces = {"pixels": pixels}
    if cnn is not None:
        spaces["features"] = lambda images: baseline_features(cnn, images)
    report, found = {}, {}
    for name, points in spaces.items():
        pool = points(train)
        found[name] = nearest_neighbors(points(samples.images), pool, min(NEIGHBORS, len(pool)))
        of_held_out, _ = nearest_neighbors(points(held_out), pool, 1)
        report[name] = memorization(found[name][0][:, 0], of_held_out[:, 0])
    return report, found


def nearest_gallery(
    samples: ClassSamples, train: np.ndarray, found: dict[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, list[str], list[str]]:
    """Arranges the samples closest to training images next to those images, for `gallery_png`."""
    classes = np.unique(samples.labels)
    each = max(1, MAX_ROWS // (2 * len(classes)))
    ranked = np.argsort(found["pixels"][0][:, 0], kind="stable")
    chosen = np.concatenate([ranked[samples.labels[ranked] == label][:each] for label in classes])
    chosen = chosen[:MAX_ROWS]
    parts, columns = [samples.images[chosen][:, np.newaxis]], ["sampled"]
    for name, (_, rows) in found.items():
        parts.append(train[rows[chosen]])
        columns += [f"nearest by {name}", *[""] * (rows.shape[1] - 1)]
    pixels = np.concatenate(parts, axis=1)
    return pixels, [samples.class_names[label] for label in samples.labels[chosen]], columns


def _write_grids(folder: Path, samples: ClassSamples) -> None:
    by_class = samples.grids()
    for name, grid in zip(safe_names(list(by_class)), by_class.values(), strict=True):
        write_bytes(folder / f"samples_{name}.png", png_bytes(grid))
    rows = np.stack([pixels[:MAX_COLUMNS] for _, pixels in samples.by_class()])
    write_bytes(folder / "samples.png", gallery_png(rows, list(by_class), []))


def _print_report(report: dict, class_names: Sequence[str]) -> None:
    unit = bits_unit(report["num_levels"])
    bits = f"{report['bits_per_dim']:.4f} {unit} under their own class"
    print(f"{counted(report['count'])} in {report['seconds']:.1f} s, {bits}")
    if "metrics" in report:
        rows = [
            (name, *(f"{_short(of[m])}/{_short(real[m])}" for m in FIDELITY_METRICS))
            for name, of in report["metrics"].items()
            for real in (of["real_reference"],)
        ]
        title = f"Sampled/real training images, compared with split {report['reference']['split']}"
        caption = "Measured on features of the baseline CNN, so the Fréchet distance is not FID."
        headings = ("class", "Fréchet", *FIDELITY_METRICS[1:])
        look = {"box": SIMPLE_HEAD, "collapse_padding": True, "pad_edge": False}
        print_table(headings, rows, title=title, caption=caption, **look)
    if named := report.get("class_consistency"):
        print(
            f"Class consistency: the baseline CNN assigns {named['sampled']['accuracy']:.1%} of "
            f"the samples to their class, and {named['real']['accuracy']:.1%} of the real images; "
            f"{named['chance']:.1%} is chance."
        )
        if len(found := named["sampled"]["predicted_labels"]) == 1 and named["chance"] < 1:
            say(f"Note: the CNN assigns all samples to one class, {class_names[found[0]]}.")
    for space, numbers in report.get("memorization", {}).items():
        closer = f"{numbers['share_closer_than_5_percent']:.1%} of the samples"
        print(
            f"Copying, by {space}: {closer} are closer to a training image than 95% of held-out "
            "images; 5% is chance."
        )
    if "temperatures" in report:
        rows = [
            (
                f"{row['temperature']:g}",
                f"{row['bits_per_dim']:.3f}",
                *(_short(row[name]) for name in SUMMARY),
            )
            for row in report["temperatures"]
        ]
        headings = ("temperature", unit, "Fréchet", *(n.replace("_", " ") for n in SUMMARY[1:]))
        print_table(headings, rows, title="Temperatures")


def _short(number: float | None) -> str:
    if number is None:
        return "–"
    return f"{number:.2g}" if abs(number) < 100 else f"{number:.0f}"
