"""Drawn pictures held against real ones, and real ones against each other as the floor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.features import Features
from keras_pixelcnnpp.evaluate.metrics.pictures import (
    DENSITY_NEIGHBOURS,
    FIDELITY_METRICS,
    fidelity_metrics,
    frechet_distance,
    kernel_distance,
)
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

# Two distances, each `None` where there is nothing to measure it by.
NO_DISTANCES = {"frechet_distance": None, "kid": None}


@dataclass(frozen=True, eq=False)
class RealPictures:
    """A split that a model wasn't trained on, its labelled pictures if any, and the training's.

    `train` is of the same data set, `learned` what the model was trained on, if that is another.
    """

    split: str
    reference: LabelledImages
    train: LabelledImages
    class_names: tuple[str, ...]
    learned: LabelledImages

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        split: str,
        class_names: Sequence[str] | None = None,
        learned: LabelledImages | None = None,
    ) -> Self:
        """Takes the splits; `UserError` if the reference is empty or that of the training.

        `class_names` are the run's names for the dataset's classes, if others.
        """
        if split == "train":
            raise UserError(
                "The reference must be pictures that the model wasn't trained on, such as the "
                "split validation. Received: train"
            )
        reference = dataset.split(split)
        if not len(reference):
            raise UserError(f"{dataset.name} has no pictures in the split {split!r}.")
        if (reference.labels >= 0).any():
            reference = reference.labelled()
        names = tuple(dataset.class_names if class_names is None else class_names)
        train = dataset.split("train")
        return cls(split, reference, train, names, train if learned is None else learned)

    @property
    def labelled(self) -> bool:
        """Whether the classes of the reference are known."""
        return bool((self.reference.labels >= 0).any())

    def floor(self, labels: np.ndarray, by_class: bool = True, seed: int = 0) -> LabelledImages:
        """Training pictures, at random, as many of each class as `labels` has, or as there are.

        Without regard to classes where they don't matter: an unconditional model's pictures.
        """
        generator = np.random.default_rng(seed)
        if not by_class:
            return self.train.take(generator.permutation(len(self.train))[: len(labels)])
        rows = [
            generator.permutation(np.flatnonzero(self.train.labels == label))[:count]
            for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
        ]
        return self.train.take(np.concatenate(rows))


class Comparison:
    """Compares pictures of a model with real ones, per class and all together, by their features.

    A distance of two finite sets is never 0 and depends on their sizes. So each number has a floor
    beside it, that of as many real training pictures of the same classes (`labels`).
    """

    def __init__(
        self,
        real: RealPictures,
        features: Features,
        labels: np.ndarray,
        class_names: Sequence[str],
        seed: int = 0,
    ):
        self.real = real
        self.features = features
        self.labels = labels
        self.by_class = tuple(class_names) == real.class_names
        floor = real.floor(self.labels, self.by_class, seed)
        self._real_labels = real.reference.labels
        self._floor_labels = floor.labels
        self._real = features(real.reference.images)
        self._floor = features(floor.images)

    def report(self, samples: ClassSamples) -> dict:
        """The numbers of `generation.json`: `features`, `reference`, `metrics`, of Inception `fid`.

        For `"all"` and each class those of `fidelity_metrics`, and under `floor` of real pictures.
        """
        generated = self.features(samples.levels)
        main = self.features.dimensions
        metrics = {name: self._metrics(generated[main], label) for name, label in self._groups()}
        report = {
            "features": {"name": self.features.name, "dimensions": main},
            "reference": {"split": self.real.split, "count": len(self.real.reference)},
            "metrics": metrics,
        }
        if self.features.name == "inception":
            report["fid"] = {str(size): self._fid(generated, size) for size in sorted(generated)}
        return report

    def distances(self, samples: ClassSamples) -> dict[str, float | None]:
        """The distances of pictures to the reference, all classes together: see `NO_DISTANCES`."""
        main = self.features.dimensions
        real, drawn = self._real[main], self.features(samples.levels)[main]
        if min(len(real), len(drawn)) < 2:
            return NO_DISTANCES
        return {
            "frechet_distance": frechet_distance(real, drawn),
            "kid": kernel_distance(real, drawn),
        }

    def notes(self) -> list[str]:
        """Lines that a reader of the numbers should know."""
        dimensions, notes = self.features.dimensions, []
        counts = {name: self._counts(label) for name, label in self._groups()}
        if self.by_class and not self.real.labelled:
            notes.append(f"The split {self.real.split} has no labels: no comparison by class.")
        elif absent := [name for name, (real, _, _) in counts.items() if not real]:
            notes.append(
                f"The split {self.real.split} has no pictures of {_listed(absent)}: no comparison "
                "for it, and that of all classes misses it."
            )
        if short := [name for name, (_, drawn, floor) in counts.items() if floor < drawn]:
            notes.append(
                f"The training split has fewer pictures than were drawn of {_listed(short)}: "
                "no floor for it."
            )
        # Without any real picture there is nothing to say about their number.
        least = {name: min(real, drawn) for name, (real, drawn, _) in counts.items() if real}
        if few := [name for name, count in least.items() if count <= DENSITY_NEIGHBOURS]:
            notes.append(f"Some numbers need more pictures than there are of {_listed(few)}.")
        if singular := [name for name, count in least.items() if count <= dimensions]:
            notes.append(
                f"No more pictures than the {dimensions} dimensions of the features, so that a "
                "covariance is singular: read Fréchet distances beside their floor only "
                f"({_listed(singular)})."
            )
        return notes

    def _groups(self) -> list[tuple[str, int | None]]:
        groups = [("all", None)]
        if self.by_class:
            groups += [(self.real.class_names[label], label) for label in np.unique(self.labels)]
        # A class that is called "all" must not hide the whole.
        return [group for group in groups if group[1] is None or group[0] != "all"]

    def _counts(self, label: int | None) -> tuple[int, int, int]:
        return tuple(
            int(_chosen(labels, label).sum())
            for labels in (self._real_labels, self.labels, self._floor_labels)
        )

    def _metrics(self, generated: np.ndarray, label: int | None) -> dict:
        main = self.features.dimensions
        real = self._real[main][_chosen(self._real_labels, label)]
        floor = self._floor[main][_chosen(self._floor_labels, label)]
        generated = generated[_chosen(self.labels, label)]
        numbers = fidelity_metrics(real, generated)
        same_size = len(floor) == len(generated)
        numbers["floor"] = (
            fidelity_metrics(real, floor) if same_size else dict.fromkeys(FIDELITY_METRICS)
        )
        return numbers

    def _fid(self, generated: dict[int, np.ndarray], dimensions: int) -> dict:
        real, floor = self._real[dimensions], self._floor[dimensions]
        same_size = len(floor) == len(generated[dimensions])
        return {
            "all": _distance(real, generated[dimensions]),
            "floor": _distance(real, floor) if same_size else None,
        }


def _chosen(labels: np.ndarray, label: int | None) -> np.ndarray:
    return np.full(len(labels), True) if label is None else labels == label


def _distance(real: np.ndarray, other: np.ndarray) -> float | None:
    return frechet_distance(real, other) if min(len(real), len(other)) >= 2 else None


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = ["all classes" if name == "all" else name for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
