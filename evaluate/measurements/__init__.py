"""Measurements, each declared by a Python file in this folder and shown by the template next to it.

Like `commands.py`, these files do not import Keras or NumPy, which only `measure` needs.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from keras_pixelcnnpp.commands.helpers import SamplingFlags, option
from keras_pixelcnnpp.commands.model_commands import ModelOptions
from keras_pixelcnnpp.utils.errors import UserError

if TYPE_CHECKING:
    from keras_pixelcnnpp.evaluate.subject import Subject

FOLDERS = __path__


@dataclass(frozen=True, kw_only=True)
class DataOptions(ModelOptions):
    """Options of all commands: the model, the images, and where the results go."""

    data: str | None = option(
        "Images, as in pixelcnnpp train. Default: those that the run was trained on."
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

    @property
    def chosen(self) -> dict:
        """The options that have a value, without those that name the model and the folder."""
        left_out = ("run", "preset", "model", "output")
        others = {name: value for name, value in vars(self).items() if name not in left_out}
        return {n: value for n, value in others.items() if value is not None and value is not False}


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

    The section of the page is `NAME.html.j2` in this folder. It gets the result as `report`, and
    may set `numbers` for the head of the page.

    Attributes:
        name: Name of the command, of the template, and of the result, `NAME.json`.
        title: Title in the list of missing results.
        place: Number by which the sections of the page are ordered.
        options: Class of the options, a dataclass.
        examples: Options in the examples of the command's help.
        writes: Patterns of the other files that it writes, next to the result.
        uses_cnn: Boolean, whether it also measures the baseline CNN of a run.
        takes_vectors: Boolean, whether it measures a model that is conditioned on vectors.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    place: ClassVar[int]
    options: ClassVar[type[DataOptions]] = BatchOptions
    examples: ClassVar[tuple[str, ...]] = ("--run runs/digits",)
    writes: ClassVar[tuple[str, ...]] = ()
    uses_cnn: ClassVar[bool] = False
    takes_vectors: ClassVar[bool] = False

    def reason_against(self, subject: "Subject") -> str | None:
        """Returns why the model and its images cannot be measured, or `None` if they can."""

    def reason(self, subject: "Subject") -> str | None:
        """Returns `reason_against`, or that the measurement takes no models of vectors."""
        if subject.numbers and not self.takes_vectors:
            return (
                f"{self.title} is not measured for a model that is conditioned on {subject.numbers}"
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
    uses_cnn = True

    def reason_against(self, subject: "Subject") -> str | None:
        channels = subject.image_shape[-1]
        if channels not in (1, 3):
            return f"PNG files have 1 or 3 channels. Received: a model of {channels} channels"
        if subject.options.split == "train" and subject.data is None:
            return (
                "Samples are compared with images that the model wasn't trained on, such as the "
                "split validation. Received: --split train"
            )
        return None


def measurements() -> list[Measurement]:
    """Returns the `MEASUREMENT` of each file in this folder, in the order of their sections."""
    names = [f"{__name__}.{found.name}" for found in pkgutil.iter_modules(FOLDERS)]
    found = [importlib.import_module(name).MEASUREMENT for name in names]
    return sorted(found, key=lambda one: one.place)
