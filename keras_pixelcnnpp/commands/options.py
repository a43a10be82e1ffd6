"""The options of the commands that use a trained model.

This file imports no command, so that a command's function and its work can both import it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from typer import Argument

from keras_pixelcnnpp.commands.helpers import (
    OverwriteOptions,
    SamplingFlags,
    in_a_folder,
    option,
    output_path,
)
from keras_pixelcnnpp.recipes.existing import existing_preset, existing_run
from keras_pixelcnnpp.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options that name a trained model, of which one must be given."""

    least: ClassVar = 1

    preset: str | None = option(
        "Preset with weights: a name from `pixelcnnpp presets`, a folder or hf://USER/NAME.",
        callback=existing_preset,
    )
    run: Path | None = option("Run folder.", callback=existing_run)
    model: Path | None = option("Model file (.keras).", exists=True)

    def __post_init__(self) -> None:
        if not self.least <= len(self.given) <= 1:
            raise UserError(
                "Expected exactly one of the options --preset NAME, --run FOLDER and --model FILE. "
                f"Received: {len(self.given)}"
            )
        if self.model is not None and self.model.suffix != ".keras":
            expected = "Expected a .keras file"
            raise UserError(f"Invalid value for --model. {expected}. Received: {self.model}")

    @property
    def given(self) -> dict:
        """The options that were given, by name."""
        options = {"preset": self.preset, "run": self.run, "model": self.model}
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class TiledOptions(ModelOptions):
    """Options of the commands that take images that are larger than the model."""

    tiled: bool = option(
        "Process images at their own size, larger than the model's, in overlapping windows.", False
    )


@dataclass(frozen=True, kw_only=True)
class RandomOptions(SamplingFlags, ModelOptions):
    """Options of the commands that sample with a model."""

    seed: int | None = option("Random seed. Default: a new one each time.", min=0, max=2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """The option of the commands that take a model of maps."""

    map: Path | None = option(
        "Map for a model that is conditioned on maps: a .npy or image file, or a folder with a map "
        "for each image. In a folder, it has the image's path, with any extension; sample takes "
        "all maps of it in order, or a .npy file with a map for each image of each class.",
        exists=True,
    )


@dataclass(frozen=True, kw_only=True)
class ConditionOptions(MapOptions):
    """The options of the commands that sample or score with a model of vectors or maps."""

    vector: str | None = option(
        "Vector for a model that is conditioned on vectors, such as beta=0.4,field=0."
    )

    @property
    def given_value(self) -> str:
        """What a user wrote as the vector and the map."""
        return " ".join(str(value) for value in (self.vector, self.map) if value is not None)


@dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """Options of the commands that process blocks of images."""

    workers: int = option(
        "Number of worker processes, on the Ray cluster at RAY_ADDRESS or on this machine. More "
        "than 1 need Ray.",
        1,
        min=1,
    )
    resume: bool = option(
        "Continue an interrupted command, with otherwise the same options.", False
    )


@dataclass(frozen=True, kw_only=True)
class SampleOptions(OverwriteOptions, BlockOptions, ConditionOptions, RandomOptions):
    """Options of `sample`."""

    label: list[str] | None = option(
        "Class to sample, by name or number. Can be repeated. Default: all."
    )
    count: int = option("Number of images per class.", 10, min=1)
    output: Path = option(
        "File or folder to write: .png for a grid, .npy for an array of all images, or a folder "
        "for one PNG file per image, such as Class1_image_01.png.",
        Path("samples.png"),
        callback=in_a_folder,
        of_output=("",),
    )


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(OverwriteOptions, ConditionOptions, ModelOptions):
    """Options of `classify`."""

    images: Annotated[
        list[Path],
        Argument(
            help="Image files of any size (PNG, JPEG, WebP, BMP, GIF or TIFF), or folders of image "
            "files. Subfolders named after the model's classes give the true labels."
        ),
    ]
    csv: Path | None = output_path("CSV file to write the predictions to.", suffix=".csv")


@dataclass(frozen=True, kw_only=True)
class CompleteOptions(OverwriteOptions, ConditionOptions, RandomOptions):
    """Options of `complete`."""

    image: Annotated[Path, Argument(help="Image file of any size.", exists=True)]
    rows: int | None = option("Number of upper rows to keep. Default: half of all rows.", min=0)
    mask: Path | None = option(
        "Image of the same size, white at unknown pixels, instead of --rows."
    )
    particles: int | None = option(
        "Number of particles for each completion, with --mask. Default: 64.", min=1
    )
    label: str | None = option("Class, by name or number. Default: sampled given the known pixels.")
    count: int = option("Number of completions.", 5, min=1)
    output: Path = output_path(
        "File to write: .png for a grid, or .npy for an array of the completions.",
        Path("completions.png"),
        suffix=(".png", ".npy"),
    )


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(OverwriteOptions, BlockOptions, ConditionOptions, TiledOptions):
    """Options of `score`."""

    advice: ClassVar = "Add --resume to continue it, or --overwrite to replace it"
    # The ending of the name of the file that says which model and images the scores belong to.
    record: ClassVar = ".json"

    data: Path = option("Folder of image files, which is searched recursively.", ..., exists=True)
    output: Path = output_path("CSV file to write.", ..., suffix=".csv", beside=(record,))

    @property
    def may_replace(self) -> bool:
        """Whether existing files may be replaced, or are continued after a look at the record."""
        return self.overwrite or self.resume


@dataclass(frozen=True, kw_only=True)
class PosteriorOptions(OverwriteOptions, MapOptions, ModelOptions):
    """Options of `posterior`."""

    grid: str = option(
        "Values of each component, as NAME=LOW:HIGH:COUNT, such as beta=0.2:0.6:41,field=0:1:11. A "
        "single value, field=0, is fixed. mass=log:0.001:1:50 has equal ratios.",
        ...,
    )
    data: Path = option(
        "Folder of image files, or an .npz file with an array images.", ..., exists=True
    )
    groups: Path | None = option(
        "Text file with the group of each image, one in a line. Images of a group share the vector."
    )
    prior: Path | None = option(
        "Text file with the logarithm of the prior density of each vector of the grid, one in a "
        "line; the last component varies fastest. Default: uniform."
    )
    rows: int | None = option("Number of known upper rows. Default: whole images.", min=0)
    level: float = option("Probability of the intervals, in (0, 1).", 0.9)
    output: Path = output_path("CSV file to write.", Path("posterior.csv"), suffix=".csv")
    figure: Path | None = output_path(
        "PNG file to write, with the intervals; of a single image or group, with the marginals.",
        suffix=".png",
    )


@dataclass(frozen=True, kw_only=True)
class CompressOptions(OverwriteOptions, TiledOptions):
    """Options of `compress`."""

    images: Annotated[
        list[Path],
        Argument(help="Image files of the model's size, or folders of them."),
    ]
    output: Path = output_path("File to write, such as images.pxc.", ..., suffix=".pxc")
    verify: bool = option("Decompress the result before it is written, to check it.", True)


@dataclass(frozen=True, kw_only=True)
class DecompressOptions(OverwriteOptions, TiledOptions):
    """Options of `decompress`."""

    file: Annotated[Path, Argument(help="File written by pixelcnnpp compress.")]
    output: Path = output_path("Folder to write the images to.", ..., folder=True)
