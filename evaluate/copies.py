"""`evaluate copies`: the training images that are nearest to samples."""

import math
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.evaluate.figures import gallery_png
from keras_pixelcnnpp.evaluate.generation import (
    MAX_ROWS,
    baseline_features,
    quantized_training_images,
    reference_images,
)
from keras_pixelcnnpp.evaluate.measurements import SampledOptions
from keras_pixelcnnpp.evaluate.metrics.images import memorization, nearest_neighbors
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.utils.files import write_bytes

NEIGHBORS = 3  # shown next to each image, for each distance


def measure(subject: Subject, options: SampledOptions, folder: Path) -> dict | None:
    """Samples images, and compares their distances from training images with real images'."""
    known = quantized_training_images(subject).images
    if not len(known):
        return None
    real = reference_images(subject.dataset, subject.split)
    unseen = quantize(real.images, subject.model.num_levels)
    if subject.config["pixelcnnpp"]["options"].get("horizontal_flip"):
        known = np.concatenate([known, known[:, :, ::-1]])
    samples = subject.sample(options)
    white = subject.model.num_values - 1
    distances, found = nearest_training(samples, known, unseen, subject.cnn, white)
    gallery = gallery_png(*nearest_gallery(samples, known, found))
    write_bytes(folder / "nearest_neighbors.png", gallery)
    for space, numbers in distances.items():
        closer = f"{numbers['share_closer_than_5_percent']:.1%} of the samples"
        print(
            f"Copying, by {space}: {closer} are closer to a training image than 95% of held-out "
            "images; 5% is chance."
        )
    return {"split": subject.split, "count": len(samples), "memorization": distances}


def nearest_training(
    samples: ClassSamples,
    train: np.ndarray,
    held_out: np.ndarray,
    cnn: BaselineCNN | None = None,
    white: int = 255,
) -> tuple[dict[str, dict], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Finds the nearest training images of samples, to detect copies.

    All images are uint8, or uint16 with the highest value `white`.

    Distances are between `"pixels"`, as the root mean square error in [0, 1], and, with a CNN,
    between `"features"`, which find shifted copies. For each, returns the result of `memorization`
    and of `nearest_neighbors`.
    """

    def pixels(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype("float32")
        return flat / (white * math.sqrt(flat.shape[1]))

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
