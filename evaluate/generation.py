"""`evaluate generation`: samples images of each class, and compares them with real images."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.data.images import unknown_value
from keras_pixelcnnpp.distributions.bits import bits_per_dim, bits_unit
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.evaluate.figures import gallery_png
from keras_pixelcnnpp.evaluate.measurements import SampledOptions
from keras_pixelcnnpp.evaluate.metrics.classifiers import classification_metrics
from keras_pixelcnnpp.evaluate.metrics.images import FIDELITY_METRICS, fidelity_metrics
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.recipes.recipe import COMMANDS, recipe_of_run
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.utils.backend import full_float32
from keras_pixelcnnpp.utils.checks import checked_images
from keras_pixelcnnpp.utils.errors import say
from keras_pixelcnnpp.utils.files import atomic_files, counted, write_bytes

MAX_ROWS = MAX_COLUMNS = 10  # of a gallery
COMPLETIONS = 4  # of each image


def measure(subject: Subject, options: SampledOptions, folder: Path) -> dict:
    """Samples images of each class, compares them with real images, and returns the metrics."""
    real = reference_images(subject.dataset, subject.split)
    print("Sampling. The sampler is compiled first, which takes some seconds.")
    start = time.perf_counter()
    samples = subject.sample(options)
    seconds = time.perf_counter() - start
    report = {
        "per_class": options.per_class,
        "seed": options.seed,
        **options.of_sampler(),
        "seconds": round(seconds, 3),
        "count": len(samples),
        "bits_per_dim": mean_bits_per_dim(subject.model, samples),
        "num_levels": subject.model.num_levels,
        "reference": {"split": subject.split, "count": len(real)},
    }
    by_class = subject.model.num_classes > 0
    if subject.cnn is not None:
        train = quantized_training_images(subject)
        report |= compare(subject.cnn, real, train, samples, by_class, options.seed)
    else:
        report["not_compared"] = advice_on_cnn(subject)
    if not by_class or (real.labels >= 0).all():
        how = {"seed": options.seed, **options.of_sampler()}
        completed = complete_images(subject.model, real, **how)
        write_bytes(folder / "completions.png", gallery_png(*completed))
    rows = np.stack([pixels[:MAX_COLUMNS] for _, pixels in samples.by_class()])
    names = [name for name, _ in samples.by_class()]
    write_bytes(folder / "samples.png", gallery_png(rows, names, []))
    with atomic_files(subject.folder / "samples", ["*_image_*.png"]) as images:
        samples.write(images)
    _print_report(report)
    say(f"Wrote images to {subject.folder / 'samples'}")
    return report


def advice_on_cnn(subject: Subject) -> str:
    """Returns why samples are not compared with real images, and the command that changes it."""
    reason = "Samples are not compared with real images, because this needs a baseline CNN."
    if subject.model.num_levels > 256:
        return f"{reason} The CNN takes images of 8 bits."
    if subject.run is None or len(subject.class_names) < 2:
        return reason
    words = recipe_of_run(subject.config, "baseline").words()
    command = ["pixelcnnpp", COMMANDS["baseline"], *words, "--run", str(subject.run.path)]
    return f"{reason} To train it: {shlex.join(command)}"


def quantized_training_images(subject: Subject) -> LabeledImages:
    """Returns the training images as the model sees them; otherwise no sample could equal one."""
    train = subject.training_images(subject.dataset)
    return replace(train, images=quantize(train.images, subject.model.num_levels))


def mean_bits_per_dim(model: AutoregressiveModel, samples: ClassSamples) -> float:
    """Returns the mean bits/dim of samples under their own class: at T = 1, the model's entropy."""
    labels = samples.labels if model.num_classes else None
    log_prob = model.log_prob(samples.images, labels)
    return float(bits_per_dim(log_prob, model.image_shape).mean())


def complete_images(
    model: AutoregressiveModel, real: LabeledImages, count: int = COMPLETIONS, **how: Any
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
    given[:, :, half:] = unknown_value(images.images)
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


def compare(
    cnn: BaselineCNN,
    real: LabeledImages,
    train: LabeledImages,
    samples: ClassSamples,
    by_class: bool = True,
    seed: int = 0,
) -> dict:
    """Compares samples with `real` images by features of a CNN.

    The distance between two finite sets is never 0 and depends on their sizes, so each metric is
    also reported for equally many images of `train`. If images have labels, the report has the
    class consistency, too, also of each class, because the mean hides a class that collapsed.
    """
    reals = real_reference_images(train, samples.labels, by_class, seed)
    # Metrics of fewer images would not be comparable.
    reals = reals if len(reals) == len(samples) else reals.take(slice(0))
    features = baseline_features(cnn, real.images)
    of_real, of_samples = (
        fidelity_metrics(features, baseline_features(cnn, images))
        for images in (reals.images, samples.images)
    )
    report = {
        "features": {"name": "baseline_cnn", "dimensions": cnn.widths[-1]},
        "metrics": {"all": {**of_samples, "real_reference": of_real}},
    }
    if by_class and (real.labels >= 0).any():
        names = samples.class_names
        report["class_consistency"] = {
            "chance": 1 / len(names),
            "sampled": class_consistency(cnn, samples.images, samples.labels, names),
            "real": class_consistency(cnn, real.images, real.labels, names),
        }
    return report


def class_consistency(
    cnn: BaselineCNN, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> dict:
    """Returns how well a CNN trained on real images recognizes the classes of samples.

    `classes` is the share of the images of each class that the CNN assigns to it.
    """
    probabilities = cnn.class_probabilities(images)
    right = probabilities.argmax(axis=1) == labels
    by_class = {
        class_names[label]: float(right[labels == label].mean()) for label in np.unique(labels)
    }
    metrics = classification_metrics(labels, probabilities)
    return {"count": len(labels), **metrics, "classes": by_class}


def _print_report(report: dict) -> None:
    unit = bits_unit(report["num_levels"])
    bits = f"{report['bits_per_dim']:.4f} {unit} under their own class"
    print(f"{counted(report['count'])} in {report['seconds']:.1f} s, {bits}")
    if "metrics" in report:
        of = report["metrics"]["all"]
        print(f"Compared with the split {report['reference']['split']}, and real training images:")
        for name in FIDELITY_METRICS:
            values = (of[name], of["real_reference"][name])
            shown = ["–" if value is None else f"{value:.4g}" for value in values]
            print(f"  {name.replace('_', ' ')}: {shown[0]}; of real images {shown[1]}")
    if named := report.get("class_consistency"):
        print(
            f"Class consistency: the baseline CNN assigns {named['sampled']['accuracy']:.1%} of "
            f"the samples to their class, and {named['real']['accuracy']:.1%} of the real images; "
            f"{named['chance']:.1%} is chance."
        )
        shares = named["sampled"]["classes"]
        lowest = min(shares, key=shares.__getitem__)
        share, real = (named[of]["classes"].get(lowest) for of in ("sampled", "real"))
        of_real = "" if real is None else f", and {real:.1%} of its real images"
        say(f"Lowest class consistency: {lowest}, {share:.1%} of its samples{of_real}.")
    if "not_compared" in report:
        say(f"Note: {report['not_compared']}")
