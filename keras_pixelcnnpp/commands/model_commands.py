"""The commands that use a trained model, and their options."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from typer import Argument

from keras_pixelcnnpp.commands.helpers import (
    Commands,
    SamplingFlags,
    in_a_folder,
    option,
    output_path,
    with_options,
    writing,
)
from keras_pixelcnnpp.utils.errors import UserError

app = Commands()


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options that name a trained model, of which one must be given."""

    least: ClassVar = 1

    preset: str | None = option(
        "Preset with weights: a name from `pixelcnnpp presets`, a folder or hf://USER/NAME."
    )
    run: Path | None = option("Run folder.")
    model: Path | None = option("Model file (.keras).")

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
class ConditionOptions:
    """The options of the commands that sample or score with a model of vectors or maps."""

    vector: str | None = option(
        "Vector for a model that is conditioned on vectors, such as beta=0.4,field=0."
    )
    map: Path | None = option(
        "Map for a model that is conditioned on maps, a .npy or image file. sample also takes a "
        ".npy file with a map for each image, in the order of the classes."
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
class OverwriteOptions:
    """Options of the commands that write a file at once."""

    overwrite: bool = option("Replace existing files.", False)


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
        of_output=True,
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

    image: Annotated[Path, Argument(help="Image file of any size.")]
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

    data: Path = option("Folder of image files, which is searched recursively.", ...)
    output: Path = output_path("CSV file to write.", ..., suffix=".csv")


@dataclass(frozen=True, kw_only=True)
class PosteriorOptions(OverwriteOptions, ModelOptions):
    """Options of `posterior`."""

    grid: str = option(
        "Values of each component, as NAME=LOW:HIGH:COUNT, such as beta=0.2:0.6:41,field=0:1:11. A "
        "single value, field=0, is fixed. mass=log:0.001:1:50 has equal ratios.",
        ...,
    )
    data: Path = option("Folder of image files, or an .npz file with an array images.", ...)
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
        list[Path], Argument(help="Image files of the model's size, or folders of them.")
    ]
    output: Path = output_path("File to write, such as images.pxc.", ..., suffix=".pxc")
    verify: bool = option("Decompress the result before it is written, to check it.", True)


@dataclass(frozen=True, kw_only=True)
class DecompressOptions(OverwriteOptions, TiledOptions):
    """Options of `decompress`."""

    file: Annotated[Path, Argument(help="File written by pixelcnnpp compress.")]
    output: Path = output_path("Folder to write the images to.", ..., folder=True)


@app.command()
def presets() -> None:
    """List the presets, with accuracy and bits/dim of trained ones.

    Options of pixelcnnpp train override the values of a preset.
    """
    for path in sorted(Path(__file__).parents[1].glob("presets/*/metadata.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        text = f"{path.parent.name}: {facts['description']}"
        if "sha256" in facts and not path.with_name("model.weights.h5").is_file():
            text += "; weights: in the repository"
        if "metrics" in facts:
            config = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
            numbers, uniform = facts["metrics"], math.log2(config["config"]["num_levels"])
            bits = f"{numbers['bits_per_dim']:.3f} of {uniform:.3g} bits/dim"
            text += f". Split {facts['split']}: accuracy {numbers['accuracy']:.1%}, {bits}"
        print(text)


@app.command(
    "sample",
    "sample --run runs/digits --label 3 --count 25 --output threes.png",
    "sample --preset digits --count 1000 --output samples",
)
@with_options(SampleOptions)
def sample(options: SampleOptions) -> None:
    """Sample images of each class with a trained model.

    An array has the dtype uint8, or uint16 for more than 256 levels or codes, and the shape (N,
    height, width, channels), and is ordered by class. Files of more than 256 levels are gray PNG
    files of 16 bits; a grid is stretched to be seen. Codes need a .npy file. --workers and --resume
    need a folder as --output. Give exactly one of --preset, --run and --model.
    """
    output = options.output
    many = output.is_dir() or not output.suffix
    if output.is_file() if many else output.suffix.lower() not in (".png", ".npy"):
        kinds = "a .png or .npy file, or a folder, whose name has no extension"
        raise UserError(f"Invalid value for --output. Expected {kinds}. Received: {output}")
    if (options.workers > 1 or options.resume) and not many:
        raise UserError(
            "--workers and --resume need a folder of images as --output. "
            f"Received: --output {output}"
        )
    if options.overwrite and many:
        raise UserError("--overwrite replaces a file. Choose another folder as --output")
    with writing(output):
        from keras_pixelcnnpp.commands.sampling import sample_folder, sample_grid

        sample_folder(options) if many else sample_grid(options)


@app.command("classify", "classify --preset fashion_mnist image.png --csv predictions.csv")
@with_options(ClassifyOptions)
def classify(options: ClassifyOptions) -> None:
    """Classify image files with a trained model.

    Give exactly one of --preset, --run and --model.
    """
    with writing(options.csv):
        from keras_pixelcnnpp.commands.scoring import classify_files

        classify_files(options)


@app.command(
    "complete",
    "complete --preset fashion_mnist shirt.png --rows 14",
    "complete --preset fashion_mnist shirt.png --mask mask.png",
)
@with_options(CompleteOptions)
def complete(options: CompleteOptions) -> None:
    """Keep part of an image, and sample the rest.

    A PNG file shows the image with its unknown part in gray, followed by the completions. An array
    has the completions alone; codes need it. Give
    exactly one of --preset, --run and --model.
    """
    if options.rows is not None and options.mask is not None:
        raise UserError("Expected only one of the options --rows and --mask. Received: both")
    with writing(options.output):
        from keras_pixelcnnpp.commands.sampling import complete_file

        complete_file(options)


@app.command("score", "score --run runs/digits --data images --output scores.csv")
@with_options(ScoreOptions)
def score(options: ScoreOptions) -> None:
    """Score a large set of images, and write a CSV file.

    Each row has the class, the probabilities and the bits/dim of an image. An image that cannot be
    read has the class -1 and an error message. A model of vectors gives all images the class -1.
    Give exactly one of --preset, --run and --model.
    """
    with writing(options.output):
        from keras_pixelcnnpp.commands.scoring import score_files

        score_files(options)


@app.command(
    "posterior",
    "posterior --run runs/ising --grid beta=0.2:0.6:41 --data images.npz --figure posterior.png",
)
@with_options(PosteriorOptions)
def posterior(options: PosteriorOptions) -> None:
    """Find the vectors under which a model that is conditioned on vectors explains images.

    Writes mean, standard deviation and interval of each component for each image or group, for a
    uniform prior if no other is given. Give exactly one of --preset, --run and --model.
    """
    with writing(options.output, options.figure):
        from keras_pixelcnnpp.commands.posterior import write_posterior

        write_posterior(options)


@app.command("compress", "compress --run runs/digits images --output images.pxc")
@with_options(CompressOptions)
def compress(options: CompressOptions) -> None:
    """Compress images into one file.

    The size of an image is about its bits/dim under the model. Compression is lossless for a model
    of codes, or with 256 levels or more; with fewer levels, it stores the nearest level. Codes are
    .npy files instead of image files. Decompression needs the same model, but works on any machine
    and under any backend. Give exactly one of --preset, --run and --model.
    """
    with writing(options.output):
        from keras_pixelcnnpp.commands.compression import compress_files

        compress_files(options)


@app.command("decompress", "decompress images.pxc --run runs/digits --output back")
@with_options(DecompressOptions)
def decompress(options: DecompressOptions) -> None:
    """Decompress a file into PNG files, or .npy files of codes, with the names of the originals.

    Give exactly one of --preset, --run and --model: the model that compressed the images.
    """
    if not options.file.is_file():
        raise UserError(f"{options.file}: no such file")
    with writing(options.output):
        from keras_pixelcnnpp.commands.compression import decompress_file

        decompress_file(options)
