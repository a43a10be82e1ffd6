"""Drawn pictures examined: beside real ones, for copies, at other temperatures, as completions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from keras_pixelcnnpp.checks import require_positive_number
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.features import BaselineFeatures, Features
from keras_pixelcnnpp.evaluate.fidelity import NO_DISTANCES, Comparison, RealPictures
from keras_pixelcnnpp.evaluate.figures import Gallery
from keras_pixelcnnpp.evaluate.metrics.classifiers import accuracy_interval
from keras_pixelcnnpp.evaluate.metrics.pictures import memorisation, nearest_neighbours
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

# Of a gallery.
MOST_ROWS = 10
MOST_COLUMNS = 10
NEIGHBOURS = 3  # beside each picture, in each space
UNKNOWN = 200  # the grey of what the model doesn't see


@dataclass(frozen=True, eq=False)
class Examination:
    """What was found: numbers ready for JSON, some of `GALLERIES`, and lines to read them with."""

    GALLERIES = ("nearest_neighbours", "completions", "temperatures")

    report: dict
    galleries: dict[str, Gallery]
    notes: list[str]


def examine(
    model: AutoregressiveModel,
    samples: ClassSamples,
    drawn_with: dict,
    *,
    real: RealPictures | None = None,
    features: Features | None = None,
    neighbour_features: BaselineFeatures | None = None,
    mirrored: bool = False,
    temperatures: Sequence[float] = (),
    num_completions: int = 0,
    verbose: int = 0,
) -> Examination:
    """Examines pictures that were `drawn_with` a `seed`, `temperature` and `guidance`.

    Distances are of `features`, nearest neighbours of pixels and of `neighbour_features`;
    `mirrored` says whether training mirrored pictures.
    """
    report, galleries, notes, comparison = {}, {}, [], None
    if real is not None and features is not None:
        comparison = Comparison(
            real, features, samples.labels, samples.class_names, drawn_with["seed"]
        )
        report |= comparison.report(samples)
        notes += comparison.notes()
    if real is not None:
        nearest = NearestTraining.find(samples, real, neighbour_features, mirrored)
        report["memorisation"] = nearest.report
        galleries["nearest_neighbours"] = nearest.gallery()
    classifier = None
    if real is not None and neighbour_features is not None and real.labelled and model.num_classes:
        classifier = neighbour_features.model
        reference = real.reference
        report["named_rightly"] = {
            "drawn": named_rightly(classifier, samples.levels, samples.labels),
            "real": named_rightly(classifier, reference.images, reference.labels),
        }
    if temperatures:
        sweep = TemperatureSweep.draw(
            model,
            samples,
            drawn_with,
            temperatures,
            comparison=comparison,
            classifier=classifier,
            verbose=verbose,
        )
        report["temperatures"] = sweep.report
        galleries["temperatures"] = sweep.gallery()
    if real is not None and num_completions:
        completed = complete_pictures(model, real, num_completions, verbose=verbose, **drawn_with)
        if completed is None:
            notes.append(f"The split {real.split} has no labels: no completions.")
        else:
            galleries["completions"] = completed
    return Examination(report, galleries, notes)


def measure(model: AutoregressiveModel, samples: ClassSamples, verbose: int = 0) -> dict:
    """`count` and `bits_per_dim`, of p(x | y) under the own class, of all and in `classes` of each.

    At temperature 1 it estimates the model's entropy, which a good model's bits/dim on real
    pictures are close to.
    """
    labels = samples.labels if model.num_classes else None
    log_prob = model.log_prob(samples.levels, labels, verbose=verbose)
    bits = bits_per_dim(log_prob, model.image_shape)

    def numbers(chosen: np.ndarray) -> dict:
        return {"count": int(chosen.sum()), "bits_per_dim": float(bits[chosen].mean())}

    classes = {
        samples.class_names[label]: numbers(samples.labels == label)
        for label in np.unique(samples.labels)
    }
    return {**numbers(np.full(len(samples), True)), "classes": classes}


def named_rightly(classifier: BaselineCNN, images: np.ndarray, labels: np.ndarray) -> dict:
    """How many pictures a classifier of real ones takes for what they are: do they show a class?

    Args:
        classifier: Trained on real pictures.
        images: uint8 levels `(N, height, width, channels)`.
        labels: Int `(N,)`, the classes that they were drawn of.

    Returns:
        Dict of `count`, the share `accuracy` and its interval `accuracy_ci95`.
    """
    correct = int(np.sum(classifier.class_probabilities(images).argmax(axis=1) == labels))
    return {
        "count": len(labels),
        "accuracy": correct / len(labels),
        "accuracy_ci95": list(accuracy_interval(correct, len(labels))),
    }


@dataclass(frozen=True, eq=False)
class NearestTraining:
    """The nearest training pictures, levels `train`, of drawn ones in the spaces searched.

    `spaces` has, by `"pixels"` and `"features"`, distances and rows of `train`, both `[count,
    neighbours]`; `report` the numbers of `memorisation`.
    """

    samples: ClassSamples
    train: np.ndarray
    spaces: dict[str, tuple[np.ndarray, np.ndarray]]
    report: dict[str, dict]

    @classmethod
    def find(
        cls,
        samples: ClassSamples,
        real: RealPictures,
        features: BaselineFeatures | None = None,
        mirrored: bool = False,
    ) -> Self:
        """Searches the training split; the reference says how close unseen pictures are.

        By pixels, whose distance is the root mean square in [0, 1], and by features, where a
        shifted copy is as close as it looks.
        """
        train = real.learned.images
        if mirrored:
            train = np.concatenate([train, train[:, :, ::-1]])
        maps = {"pixels": lambda images: _pixel_points(images, samples.num_levels)}
        if features is not None:
            maps["features"] = lambda images: features(images)[features.dimensions]
        spaces, report = {}, {}
        for name, points in maps.items():
            pool = points(train)
            count = min(NEIGHBOURS, len(pool))
            spaces[name] = nearest_neighbours(points(samples.levels), pool, count)
            held_out, _ = nearest_neighbours(points(real.reference.images), pool, 1)
            report[name] = memorisation(spaces[name][0][:, 0], held_out[:, 0])
        return cls(samples, train, spaces, report)

    def gallery(self) -> Gallery:
        """The most suspicious picture of each class, beside its nearest training pictures."""
        chosen = self._closest_of_each_class()
        parts = [self.samples.levels[chosen][:, np.newaxis]]
        columns = ["drawn"]
        for name, (_, rows) in self.spaces.items():
            parts.append(self.train[rows[chosen]])
            columns += [f"nearest by {name}", *[""] * (rows.shape[1] - 1)]
        return Gallery(
            to_pixels(np.concatenate(parts, axis=1), self.samples.num_levels),
            [self.samples.class_names[label] for label in self.samples.labels[chosen]],
            columns,
        )

    def _closest_of_each_class(self) -> np.ndarray:
        nearest = self.spaces["pixels"][0][:, 0]
        classes = np.unique(self.samples.labels)
        # Of few classes more than one picture each.
        each = max(1, MOST_ROWS // (2 * len(classes)))
        ranked = np.argsort(nearest, kind="stable")
        chosen = [ranked[self.samples.labels[ranked] == label][:each] for label in classes]
        return np.concatenate(chosen)[:MOST_ROWS]


def _pixel_points(images: np.ndarray, num_levels: int) -> np.ndarray:
    """Pictures as points whose Euclidean distance is the root mean square of their pixels."""
    flat = images.reshape(len(images), -1).astype("float32")
    return flat / ((num_levels - 1) * math.sqrt(flat.shape[1]))


@dataclass(frozen=True, eq=False)
class TemperatureSweep:
    """The same pictures, from the same random numbers, by temperature, and the numbers of each.

    The bits/dim are of the model at temperature 1; distances are `None` without a reference, and
    so is the share that a classifier names rightly without one.
    """

    samples: dict[float, ClassSamples]
    report: list[dict]

    @classmethod
    def draw(
        cls,
        model: AutoregressiveModel,
        drawn: ClassSamples,
        drawn_with: dict,
        temperatures: Sequence[float],
        *,
        comparison: Comparison | None = None,
        classifier: BaselineCNN | None = None,
        verbose: int = 0,
    ) -> Self:
        """Draws pictures like those `drawn` already and measures all of them."""
        samples, report = {}, []
        per_class = int(np.sum(drawn.labels == drawn.labels[0]))
        for temperature in sorted(set(temperatures)):
            if temperature == drawn_with["temperature"]:
                samples[temperature] = drawn
            else:
                arguments = {**drawn_with, "temperature": temperature, "verbose": verbose}
                samples[temperature] = ClassSamples.draw(
                    model, drawn.class_names, per_class, **arguments
                )
            here = samples[temperature]
            named = classifier and named_rightly(classifier, here.levels, here.labels)
            report.append(
                {
                    "temperature": temperature,
                    "bits_per_dim": measure(model, here, verbose)["bits_per_dim"],
                    **(comparison.distances(here) if comparison else NO_DISTANCES),
                    "named_rightly": named["accuracy"] if named else None,
                }
            )
        return cls(samples, report)

    def gallery(self) -> Gallery:
        """A row for each temperature, with the first pictures of each class."""
        first = next(iter(self.samples.values()))
        classes = list(first.by_class())
        each = max(1, MOST_COLUMNS // len(classes))
        each = min(each, *(len(pixels) for _, pixels in classes))
        shown = min(len(classes), MOST_COLUMNS)
        rows = [
            np.concatenate([pixels[:each] for _, pixels in samples.by_class()][:shown])
            for samples in self.samples.values()
        ]
        return Gallery(
            np.stack(rows),
            [f"temperature {temperature:g}" for temperature in self.samples],
            [text for name, _ in classes[:shown] for text in (name, *[""] * (each - 1))],
        )


def parse_temperatures(text: str) -> list[float]:
    """Reads `"0.7, 1"` as `[0.7, 1.0]`; an empty text has none."""
    try:
        temperatures = [float(part) for part in text.split(",") if part.strip()]
        for temperature in temperatures:
            require_positive_number("temperatures", temperature)
    except ValueError as error:
        raise UserError(
            f"Temperatures are numbers above 0 with commas between them. Received: {text!r}"
        ) from error
    return temperatures


def complete_pictures(
    model: AutoregressiveModel, real: RealPictures, count: int, **arguments
) -> Gallery | None:
    """Keeps the upper half of a real picture of each class and completes it `count` times.

    Of an unconditional model the first pictures; `None` if the model needs labels and there are
    none.
    """
    rows = _rows_to_complete(model, real)
    if not len(rows):
        return None
    pictures = real.reference.take(rows)
    half = model.image_shape[0] // 2
    repeated = np.repeat(pictures.images, count, axis=0)
    labels = np.repeat(pictures.labels, count) if model.num_classes else None
    drawn = model.complete(repeated, half, labels, **arguments)
    drawn = drawn.reshape(len(rows), count, *model.image_shape)

    original = to_pixels(pictures.images, model.num_levels)[:, np.newaxis]
    given = original.copy()
    given[:, :, half:] = UNKNOWN
    pixels = [original, given, to_pixels(drawn, model.num_levels)]
    return Gallery(
        np.concatenate(pixels, axis=1),
        [real.class_names[label] if label >= 0 else "" for label in pictures.labels],
        ["real", "given", "completions", *[""] * (count - 1)],
    )


def _rows_to_complete(model: AutoregressiveModel, real: RealPictures) -> np.ndarray:
    if not model.num_classes:
        return np.arange(min(len(real.reference), MOST_ROWS))
    known, first = np.unique(real.reference.labels, return_index=True)
    return first[known >= 0][:MOST_ROWS]
