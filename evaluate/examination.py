"""Drawn pictures examined: beside real ones, for copies, and at other temperatures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_pixelcnnpp.checks import require_positive_number
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.fidelity import Comparison, RealPictures
from keras_pixelcnnpp.evaluate.figures import Gallery
from keras_pixelcnnpp.evaluate.metrics.pictures import memorisation, nearest_neighbours
from keras_pixelcnnpp.sampling.class_samples import ClassSamples


@dataclass(frozen=True, eq=False)
class Examination:
    """What was found.

    Args:
        report: Of `metrics`, `features`, `reference`, `fid`, `memorisation` and `temperatures`,
            those that could be made: plain numbers, ready for JSON.
        galleries: Of `nearest_neighbours`, `completions` and `temperatures`, those that could.
        notes: Lines that a reader of the numbers should know.
    """

    GALLERIES = ("nearest_neighbours", "completions", "temperatures")

    report: dict
    galleries: dict[str, Gallery]
    notes: list[str]


def examine(
    model,
    samples: ClassSamples,
    drawn_with: dict,
    *,
    real: RealPictures | None = None,
    features=None,
    neighbour_features=None,
    mirrored: bool = False,
    temperatures: Sequence[float] = (),
    num_completions: int = 0,
) -> Examination:
    """Examines what a model has drawn.

    Args:
        model: The `PixelCNNPlusPlus`.
        samples: The pictures.
        drawn_with: The arguments they were drawn with: `seed`, `temperature` and `guidance`.
        real: Real pictures to compare with; `None` for none.
        features: `BaselineFeatures` or `InceptionFeatures` to compare by; `None` for no distances.
        neighbour_features: `BaselineFeatures`, for nearest neighbours by features too.
        mirrored: Whether the training mirrored pictures.
        temperatures: Numbers above 0, to be drawn side by side.
        num_completions: Integer of at least 0, completions of each of some real pictures.
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
    if temperatures:
        others = {name: drawn_with[name] for name in ("seed", "guidance")}
        known = {drawn_with["temperature"]: samples}
        sweep = TemperatureSweep.draw(
            model, samples, temperatures, known=known, comparison=comparison, **others
        )
        report["temperatures"] = sweep.report
        galleries["temperatures"] = sweep.gallery()
    if real is not None and num_completions:
        completed = complete_pictures(model, real, num_completions, **drawn_with)
        if completed is None:
            notes.append(f"The split {real.split} has no labels: no completions.")
        else:
            galleries["completions"] = completed
    return Examination(report, galleries, notes)


def measure(model, samples: ClassSamples) -> dict:
    """The numbers for all pictures, and under `classes` those for each class."""
    labels = samples.labels if model.num_classes else None
    bits = bits_per_dim(model.log_prob(samples.levels, labels), model.image_shape)

    def numbers(chosen: np.ndarray) -> dict:
        return {"count": int(chosen.sum()), "bits_per_dim": float(bits[chosen].mean())}

    classes = {
        samples.class_names[label]: numbers(samples.labels == label)
        for label in np.unique(samples.labels)
    }
    return {**numbers(np.full(len(samples), True)), "classes": classes}


MOST_ROWS = 10


UNKNOWN = 200  # the grey of what the model doesn't see


def complete_pictures(model, real: RealPictures, count: int, **arguments) -> Gallery | None:
    """Keeps the upper half of real pictures and lets a model draw the lower one several times.

    Args:
        model: A trained `PixelCNNPlusPlus`.
        real: Where the pictures come from: the reference split, one picture of each class.
        count: Positive integer, completions of each picture.
        **arguments: Of `PixelCNNPlusPlus.complete`, such as `seed`.

    Returns:
        A row for each class with the picture, what the model sees of it, and its completions; for
        an unconditional model, rows of the first pictures. `None` if the model needs labels and
        the reference has none.
    """
    rows = _rows(model, real)
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
    names = [real.class_names[label] if label >= 0 else "" for label in pictures.labels]
    return Gallery(
        np.concatenate(pixels, axis=1),
        tuple(names),
        ("real", "given", "completions", *[""] * (count - 1)),
    )


def _rows(model, real: RealPictures) -> np.ndarray:
    if not model.num_classes:
        return np.arange(min(len(real.reference), MOST_ROWS))
    known, first = np.unique(real.reference.labels, return_index=True)
    return first[known >= 0][:MOST_ROWS]


MOST_COLUMNS = 10


@dataclass(frozen=True, eq=False)
class TemperatureSweep:
    """The same pictures, from the same random numbers, at several temperatures.

    Args:
        samples: From temperature to pictures.
        report: For each temperature `{"temperature", "bits_per_dim", "frechet_distance"}`. The
            bits/dim are of the model at temperature 1; the distance is `None` without a reference.
    """

    samples: dict[float, ClassSamples]
    report: list[dict]

    @classmethod
    def draw(
        cls,
        model,
        drawn: ClassSamples,
        temperatures,
        *,
        known: dict[float, ClassSamples] | None = None,
        comparison: Comparison | None = None,
        **arguments,
    ) -> "TemperatureSweep":
        """Draws and measures.

        Args:
            model: A trained `PixelCNNPlusPlus`.
            drawn: Pictures whose classes and count the others shall have.
            temperatures: Numbers above 0.
            known: Pictures that were drawn already, by temperature.
            comparison: Measures the distance to real pictures.
            **arguments: Of `PixelCNNPlusPlus.sample`, such as `seed`.
        """
        samples, report = {}, []
        per_class = int(np.sum(drawn.labels == drawn.labels[0]))
        for temperature in sorted(set(temperatures)):
            samples[temperature] = (known or {}).get(temperature) or ClassSamples.draw(
                model, drawn.class_names, per_class, temperature=temperature, **arguments
            )
            distance = comparison.distance(samples[temperature]) if comparison else None
            report.append(
                {
                    "temperature": temperature,
                    "bits_per_dim": measure(model, samples[temperature])["bits_per_dim"],
                    "frechet_distance": distance,
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
        columns = [text for name, _ in classes[:shown] for text in (name, *[""] * (each - 1))]
        return Gallery(
            np.stack(rows),
            tuple(f"temperature {temperature:g}" for temperature in self.samples),
            tuple(columns),
        )


def parse_temperatures(text: str) -> list[float]:
    """Reads `"0.7, 1"` as `[0.7, 1.0]`; an empty text has none.

    Raises:
        UserError: if there is something else than numbers above 0 between the commas.
    """
    try:
        temperatures = [float(part) for part in text.split(",") if part.strip()]
        for temperature in temperatures:
            require_positive_number("temperatures", temperature)
    except ValueError as error:
        raise UserError(
            f"Temperatures are numbers above 0 with commas between them. Received: {text!r}"
        ) from error
    return temperatures


NEIGHBOURS = 3  # beside each picture, in each space


@dataclass(frozen=True, eq=False)
class NearestTraining:
    """The nearest training pictures of generated ones, in one or two spaces.

    Args:
        samples: The generated pictures.
        train: uint8 levels `[num_train, height, width, channels]`.
        spaces: From the name of a space, `"pixels"` or `"features"`, to what was found there.
        report: From the name of a space to the numbers of `metrics.memorisation`.
    """

    samples: ClassSamples
    train: np.ndarray
    spaces: dict[str, tuple[np.ndarray, np.ndarray]]
    report: dict[str, dict]

    @classmethod
    def find(
        cls, samples: ClassSamples, real: RealPictures, features=None, mirrored: bool = False
    ) -> "NearestTraining":
        """Searches the training split.

        Args:
            samples: The generated pictures.
            real: The real ones; its reference says how close unseen pictures typically are.
            features: `BaselineFeatures`, for a search in their space too, where a shifted copy is
                as close as it looks; `None` searches by pixels only.
            mirrored: Whether training showed the model mirrored pictures too.

        Returns:
            What was found. Distances of pixels are root mean squares, of pixels in [0, 1].
        """
        train = real.train.images
        if mirrored:
            train = np.concatenate([train, train[:, :, ::-1]])
        maps = {"pixels": _Pixels(samples.num_levels)}
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
        names = [self.samples.class_names[label] for label in self.samples.labels[chosen]]
        return Gallery(
            to_pixels(np.concatenate(parts, axis=1), self.samples.num_levels),
            tuple(names),
            tuple(columns),
        )

    def _closest_of_each_class(self) -> np.ndarray:
        nearest = self.spaces["pixels"][0][:, 0]
        classes = np.unique(self.samples.labels)
        # Of few classes more than one picture each.
        each = max(1, MOST_ROWS // (2 * len(classes)))
        ranked = np.argsort(nearest, kind="stable")
        chosen = [ranked[self.samples.labels[ranked] == label][:each] for label in classes]
        return np.concatenate(chosen)[:MOST_ROWS]


class _Pixels:
    """Pictures as points whose Euclidean distance is the root mean square of their pixels."""

    def __init__(self, num_levels: int):
        self.steps = num_levels - 1

    def __call__(self, images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype("float32")
        return flat / (self.steps * math.sqrt(flat.shape[1]))
