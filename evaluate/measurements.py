"""Declares the measurements of `evaluate`.

Like `commands.py`, this file does not import Keras or NumPy, which only `measure` needs.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from keras_pixelcnnpp.commands.helpers import SamplingFlags, option
from keras_pixelcnnpp.commands.options import ModelOptions
from keras_pixelcnnpp.recipes.existing import existing_data
from keras_pixelcnnpp.utils.errors import UserError

if TYPE_CHECKING:
    from keras_pixelcnnpp.evaluate.subject import Subject


@dataclass(frozen=True, kw_only=True)
class DataOptions(ModelOptions):
    """Options of all commands: the model, the images, and where the results go."""

    data: str | None = option(
        "Images, as in pixelcnnpp train. Default: those that the run was trained on.",
        callback=existing_data,
    )
    split: str | None = option(
        "Split to measure on: train, validation or test. Default: validation; with --data, the "
        "first available of validation, test and all images."
    )
    classes_in_order: bool = option(
        "Match the classes of --data with those of the model by order, not by name.", False
    )
    output: Path | None = option(
        "Folder to write to, with a subfolder for each other data set and split. Default: reports "
        "in the run folder, or in reports the name of the preset or model file."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run is None and self.data is None:
            raise UserError("Missing option --data: --preset and --model come without images")


@dataclass(frozen=True, kw_only=True)
class BatchOptions(DataOptions):
    """Options of the commands that score images."""

    batch_size: int = option("Number of images per batch.", 32, min=1)


@dataclass(frozen=True, kw_only=True)
class SampledOptions(SamplingFlags, DataOptions):
    """Options of the commands that sample images."""

    per_class: int = option("Number of images per class.", 25, min=1)
    seed: int = option("Random seed.", 0, min=0)


class Measurement:
    """One kind of evaluation. A subclass declares it, and its docstring is the command's help.

    The section of the page is `templates/NAME.html.j2`. It gets the result as `report`, and
    may set `numbers` for the head of the page.

    Attributes:
        name: Name of the command, of the template, and of the result, `NAME.json`.
        options: Class of the options, a dataclass.
        examples: Options in the examples of the command's help.
        writes: Patterns of the other files that it writes, next to the result.
        takes_values: Boolean, whether it measures a model that is conditioned on vectors or maps.
        takes_codes: Boolean, whether it measures a model of codes, which have no picture.
    """

    name: ClassVar[str]
    options: ClassVar[type[DataOptions]] = BatchOptions
    examples: ClassVar[tuple[str, ...]] = ("--run runs/digits",)
    writes: ClassVar[tuple[str, ...]] = ()
    takes_values: ClassVar[bool] = False
    takes_codes: ClassVar[bool] = False

    def reason_against(self, subject: "Subject") -> str | None:
        """Returns why the model and its images cannot be measured, or `None` if they can."""

    def reason(self, subject: "Subject") -> str | None:
        """Returns `reason_against`, or that the measurement does not take this kind of model."""
        conditions = subject.model.conditions
        if conditions.needs_values and not self.takes_values:
            return (
                f"evaluate {self.name} does not measure models conditioned on "
                f"{conditions.description}"
            )
        if not (subject.model.ordered_levels or self.takes_codes):
            return (
                f"evaluate {self.name} compares images, and codes are no images. Decode them first"
            )
        return self.reason_against(subject)

    def measure(self, subject: "Subject", options: Any, folder: Path) -> dict | None:
        """Writes the files of `writes` to an empty folder, and returns the content of `NAME.json`.

        `None` means that there is no result. By default, the function `measure` of
        `evaluate/NAME.py` does this.
        """
        module = importlib.import_module(f"keras_pixelcnnpp.evaluate.{self.name}")
        return module.measure(subject, options, folder)


class OfSamples(Measurement):
    """Base class of measurements of samples, which are compared with images."""

    options = SampledOptions

    def reason_against(self, subject: "Subject") -> str | None:
        channels, is_deep = subject.model.image_shape[-1], subject.model.num_levels > 256
        if channels not in ((1,) if is_deep else (1, 3)):
            expected = "16 bits have 1 channel" if is_deep else "8 bits have 1 or 3 channels"
            return f"PNG files of {expected}. Received: a model of {channels} channels"
        if subject.options.split == "train" and subject.data is None:
            return (
                "Samples are compared with images that the model wasn't trained on, such as the "
                "split validation. Received: --split train"
            )
        return None


class Generation(OfSamples):
    """Sample images and compare them with real images.

    Writes the samples to a folder samples (Class0_image_01.png and so on), generation.json,
    samples.png, and completions.png of the upper halves of images. The metrics compare features of
    the run's baseline CNN.
    """

    name = "generation"
    examples = ("--run runs/digits", "--run runs/digits --per-class 10 --temperature 0.9")
    writes = ("samples.png", "completions.png")


class Copies(OfSamples):
    """Find the training images nearest to samples, which show whether the model copies them.

    Distances are those of the pixels, and of features of the run's baseline CNN. Writes
    copies.json and nearest_neighbors.png.
    """

    name = "copies"
    writes = ("nearest_neighbors.png",)


class Classification(Measurement):
    """Compare a model and the CNN of its run as classifiers.

    Writes classification.json, confusion matrices, reliability.png, and a row for each image in
    predictions.csv and predictions_baseline.csv.
    """

    name = "classification"
    takes_values = takes_codes = True
    examples = (
        "--run runs/digits",
        "--preset fashion_mnist --data fashion_mnist --split test",
    )
    writes = ("predictions*.csv", "reliability.png", "confusion_*.png")

    def reason_against(self, subject: "Subject") -> str | None:
        if subject.model.num_classes:
            return None
        description = subject.model.conditions.description
        return f"A model without classes does not classify images. Received: {description}"


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions(BatchOptions):
    """Options of `evaluate evidence`."""

    per_class: int = option("Number of images per class.", 4, min=1)


class Evidence(Measurement):
    """Show which pixels the model's classifications rest on.

    The evidence of a pixel is its log-likelihood, in nats, under the true class minus its
    log-likelihood under the most probable other class. Writes evidence.png and evidence.json.
    """

    name = "evidence"
    options = EvidenceOptions
    examples = ("--run runs/digits --per-class 2",)
    writes = ("evidence.png",)

    def reason_against(self, subject: "Subject") -> str | None:
        if subject.model.num_classes > 1:
            return None
        return f"Evidence compares two classes. Received: num_classes={subject.model.num_classes}"


@dataclass(frozen=True, kw_only=True)
class LikelihoodOptions(BatchOptions):
    """Options of `evaluate likelihood`."""

    count: int = option("Maximum number of images.", 500, min=2)
    seed: int = option("Random seed.", 0, min=0)


class Likelihood(Measurement):
    """Show where and how the model differs from images.

    Writes likelihood.json and likelihood.png: bits/dim of p(x), compared with those of independent
    pixels, which no model should exceed; the probability integral transform
    of the sub-pixels and the coverage of their 50 and 90% intervals; standardized surprisal of the
    images; and a map of the correlation between neighboring residuals. A text interprets them.
    Codes have no order, so they have neither transform, intervals nor residuals.
    """

    name = "likelihood"
    options = LikelihoodOptions
    takes_values = takes_codes = True
    writes = ("likelihood.png",)


@dataclass(frozen=True, kw_only=True)
class OODOptions(BatchOptions):
    """Options of `evaluate ood`."""

    count: int = option("Maximum number of images of each kind.", 200, min=2)
    seed: int = option("Random seed.", 0, min=0)
    ood_data: str | None = option(
        "Further out-of-distribution images, as --data in pixelcnnpp train.",
        callback=existing_data,
    )


class OOD(Measurement):
    """Measure how well out-of-distribution images are detected.

    Half of the split, at most --count images, is compared with other sets. The others, at most
    1,000, fit the detectors: AnomalyDetector, log p(x), its distance from the mean over normal
    images (typicality), log p(x) corrected for complexity (the size as a PNG file), the largest
    class probability of both classifiers, and the energy of the CNN. Writes ood.csv with a row for
    each image and its p-value; ood.json, also with thresholds that give 5% false alarms; ood.png;
    and improbable.png, the most anomalous images with maps of standardized surprisal.
    """

    name = "ood"
    options = OODOptions
    examples = ("--run runs/digits", "--run runs/digits --ood-data other_images")
    writes = ("ood.csv", "ood.png", "improbable.png")


# In the order of their sections on the page.
MEASUREMENTS: list[Measurement] = [
    Generation(),
    Copies(),
    Classification(),
    Evidence(),
    Likelihood(),
    OOD(),
]
