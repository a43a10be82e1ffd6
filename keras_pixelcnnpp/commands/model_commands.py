"""The commands that use a trained model."""

import json
import math
from pathlib import Path

from keras_pixelcnnpp.commands.helpers import Commands, with_options, writing
from keras_pixelcnnpp.commands.options import (
    ClassifyOptions,
    CompleteOptions,
    CompressOptions,
    DecompressOptions,
    PosteriorOptions,
    SampleOptions,
    ScoreOptions,
)
from keras_pixelcnnpp.utils.errors import UserError

app = Commands()


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
