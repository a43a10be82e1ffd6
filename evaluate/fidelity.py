"""Sampled images held against real ones: distances with their floor, and nearest neighbors."""

import math

import numpy as np
from keras import ops

from keras_pixelcnnpp.checks import checked_images
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.metrics.classifiers import accuracy_with_interval
from keras_pixelcnnpp.evaluate.metrics.pictures import (
    fidelity_metrics,
    memorisation,
    nearest_neighbours,
)
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

MOST_ROWS = 10  # of a gallery
NEIGHBOURS = 3  # beside each image, in each space


def baseline_features(model: BaselineCNN, images: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """What the logits of a `BaselineCNN` are made of: float64 `[count, filters[-1]]`.

    A Fréchet distance of them tells how images (uint8 levels) differ in what tells the classes
    apart. It is not the FID, and compares with others under the same classifier only.
    """
    images = checked_images(images, model.image_shape, model.num_levels)
    found = np.zeros((len(images), model.filters[-1]))
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        features = model.features(images[rows], training=False)
        found[rows] = ops.convert_to_numpy(ops.cast(features, "float32"))
    return found


def reference_images(dataset: Dataset, split: str) -> LabelledImages:
    """The images of a split, its labeled ones if any; `UserError` if that is the training's."""
    if split == "train":
        raise UserError(
            "The reference must be images that the model wasn't trained on, such as the split "
            "validation. Received: train"
        )
    has_labels = bool((dataset.split(split).labels >= 0).any())
    return dataset.pictures(split, with_labels=has_labels)


def floor_images(
    train: LabelledImages, labels: np.ndarray, by_class: bool = True, seed: int = 0
) -> LabelledImages:
    """Training images, at random, as many of each class as `labels` has, or as there are.

    Without regard to classes where they don't matter: an unconditional model's images.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    if not by_class:
        return train.take(order[: len(labels)])
    rows = [
        order[train.labels[order] == label][:count]
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
    ]
    return train.take(np.concatenate(rows))


class Comparison:
    """Compares samples with `reference` images, per class and all together, by a CNN's features.

    A distance of two finite sets is never 0 and depends on their sizes. So each number has a floor
    beside it, that of as many images of `train`. All samples have the labels of the first ones.
    """

    def __init__(
        self,
        cnn: BaselineCNN,
        reference: LabelledImages,
        train: LabelledImages,
        samples: ClassSamples,
        by_class: bool = True,
        seed: int = 0,
    ):
        self.cnn = cnn
        self.reference = reference
        self.has_names = by_class and bool((reference.labels >= 0).any())
        floor = floor_images(train, samples.labels, by_class, seed)
        self._real = baseline_features(cnn, reference.images), reference.labels
        self._floor = baseline_features(cnn, floor.images), floor.labels
        # A class that is called "all" must not hide the whole.
        self._groups = {"all": None}
        for label in np.unique(samples.labels) if by_class else ():
            self._groups.setdefault(samples.class_names[label], label)

    def report(self, samples: ClassSamples) -> dict:
        """For JSON, `features`; `metrics` of `"all"` and each class; perhaps `named_rightly`."""
        generated = baseline_features(self.cnn, samples.levels), samples.labels
        report = {
            "features": {"name": "baseline_cnn", "dimensions": self.cnn.filters[-1]},
            "metrics": {
                name: self._metrics(generated, label) for name, label in self._groups.items()
            },
        }
        if self.has_names:
            report["named_rightly"] = {
                "drawn": named_rightly(self.cnn, samples.levels, samples.labels),
                "real": named_rightly(self.cnn, self.reference.images, self.reference.labels),
            }
        return report

    def _metrics(self, generated: tuple[np.ndarray, np.ndarray], label: int | None) -> dict:
        real, floor, generated = (
            features if label is None else features[labels == label]
            for features, labels in (self._real, self._floor, generated)
        )
        # Of fewer images, a floor would be none.
        floor = floor if len(floor) == len(generated) else floor[:0]
        return {**fidelity_metrics(real, generated), "floor": fidelity_metrics(real, floor)}

    def summary(self, samples: ClassSamples) -> dict[str, float | None]:
        """`frechet_distance`, `kid` and the share `named_rightly`, all classes together."""
        numbers = fidelity_metrics(self._real[0], baseline_features(self.cnn, samples.levels))
        named = self.has_names and named_rightly(self.cnn, samples.levels, samples.labels)
        return {
            "frechet_distance": numbers["frechet_distance"],
            "kid": numbers["kid"],
            "named_rightly": named["accuracy"] if named else None,
        }


def named_rightly(cnn: BaselineCNN, images: np.ndarray, labels: np.ndarray) -> dict:
    """How many images a classifier of real ones takes for what they are: do they show a class?

    `count`, the share `accuracy` and its interval `accuracy_ci95`, ready for JSON.
    """
    probabilities = cnn.class_probabilities(images)
    return {"count": len(labels), **accuracy_with_interval(labels, probabilities)}


def nearest_training(
    samples: ClassSamples,
    train: np.ndarray,
    held_out: np.ndarray,
    cnn: BaselineCNN | None = None,
) -> tuple[dict[str, dict], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """How close sampled images come to those trained on; all are levels.

    By `"pixels"`, whose distance is the root mean square in [0, 1], and by `"features"` of a
    classifier, where a shifted copy is as close as it looks. Of each space the numbers of
    `memorisation`, with `held_out` images as the scale; and of each sampled image the distances
    and rows of the nearest in `train`, both `[count, neighbors]`.
    """

    def pixels(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype("float32")
        return flat / ((samples.num_levels - 1) * math.sqrt(flat.shape[1]))

    spaces = {"pixels": pixels}
    if cnn is not None:
        spaces["features"] = lambda images: baseline_features(cnn, images)
    report, found = {}, {}
    for name, points in spaces.items():
        pool = points(train)
        found[name] = nearest_neighbours(points(samples.levels), pool, min(NEIGHBOURS, len(pool)))
        of_held_out, _ = nearest_neighbours(points(held_out), pool, 1)
        report[name] = memorisation(found[name][0][:, 0], of_held_out[:, 0])
    return report, found


def nearest_gallery(
    samples: ClassSamples, train: np.ndarray, found: dict[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, list[str], list[str]]:
    """The most suspicious images of each class beside the nearest ones, for `gallery_png`."""
    classes = np.unique(samples.labels)
    each = max(1, MOST_ROWS // (2 * len(classes)))
    ranked = np.argsort(found["pixels"][0][:, 0], kind="stable")
    chosen = np.concatenate([ranked[samples.labels[ranked] == label][:each] for label in classes])
    chosen = chosen[:MOST_ROWS]
    parts, columns = [samples.levels[chosen][:, np.newaxis]], ["sampled"]
    for name, (_, rows) in found.items():
        parts.append(train[rows[chosen]])
        columns += [f"nearest by {name}", *[""] * (rows.shape[1] - 1)]
    pixels = to_pixels(np.concatenate(parts, axis=1), samples.num_levels)
    return pixels, [samples.class_names[label] for label in samples.labels[chosen]], columns
