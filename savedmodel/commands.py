"""The commands that use a trained model, and those that export and serve one: their options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from keras_pixelcnnpp.command import (
    Commands,
    Guidance,
    Temperature,
    in_a_folder,
    library,
    output,
)
from keras_pixelcnnpp.errors import UserError

app = Commands()

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="A preset with weights: one that pixelcnnpp presets lists, a folder or hf://USER/NAME.",
    ),
]
Run = Annotated[Path | None, typer.Option("--run", help="Folder of a run.")]
ModelFile = Annotated[Path | None, typer.Option("--model", help="A .keras file.")]
Images = Annotated[
    list[Path],
    typer.Argument(
        help="Image files of any size: PNG, JPEG, WebP, BMP, GIF or TIFF; or folders of such. "
        "Folders below that are named as the model's classes give the true labels."
    ),
]
Csv = Annotated[Path | None, output("A CSV file to write the predictions to as well.")]
Workers = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number of processes that share the work, of the Ray cluster that the environment "
        "variable RAY_ADDRESS names, else of this machine. Above 1 it needs Ray.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue a job that was interrupted, with the same other options."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0, max=2**31 - 1, help="The same seed gives the same images. Default: a new one."
    ),
]


def chosen_model(preset: str | None, run: Path | None, model: Path | None) -> dict:
    """The one of three options that names a model, as arguments of `TrainedModel.named`."""
    options = {"preset": preset, "run": run, "model": model}
    given = {name: value for name, value in options.items() if value is not None}
    if len(given) != 1:
        raise UserError(
            "Which model? Expected one of: --preset NAME, --run FOLDER, --model FILE. "
            f"Received: {len(given)} of them"
        )
    return given


@app.command(
    "sample",
    "sample --run runs/digits --label 3 --count 25 --output threes.png",
    "sample --preset digits --count 1000 --output samples",
)
def sample(
    preset: Preset = None,
    run: Run = None,
    model: ModelFile = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A class, by name or number; may be repeated. Default: all."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images of each class.")] = 10,
    output: Annotated[
        Path,
        typer.Option(
            help="What to write: .png for a grid, .npy for an array of the images, else a folder "
            "for a PNG file of each image, Class1_image_01.png and so on.",
            callback=in_a_folder,
        ),
    ] = Path("samples.png"),
    seed: Seed = None,
    temperature: Temperature = 1.0,
    guidance: Guidance = 0.0,
    workers: Workers = 1,
    resume: Resume = False,
) -> None:
    """Sample images of each class with a trained model.

    An array is uint8 (N, height, width, channels), ordered by class. Exactly one of --preset, --run
    and --model names the model. --workers and --resume are for the images in a folder.
    """
    given = chosen_model(preset, run, model)
    many = output.is_dir() or not output.suffix
    if output.is_file() if many else output.suffix.lower() not in (".png", ".npy"):
        kinds = "a .png or .npy file, or a folder, whose name has no ending"
        raise UserError(f"Invalid value for --output. Expected {kinds}. Received: {output}")
    if (workers > 1 or resume) and not many:
        raise UserError(
            "--workers and --resume are for images in a folder. "
            f"Expected one as --output. Received: {output}"
        )
    with library():
        from keras_pixelcnnpp.savedmodel import using
    how = {"temperature": temperature, "guidance": guidance}
    if many:
        using.sample_folder(given, label, count, output, seed, how, workers, resume)
    else:
        using.sample_grid(given, label, count, output, seed, how)


@app.command("classify", "classify --preset fashion_mnist image.png --csv predictions.csv")
def classify(
    images: Images,
    preset: Preset = None,
    run: Run = None,
    model: ModelFile = None,
    csv: Csv = None,
) -> None:
    """Classify image files with a trained model.

    Exactly one of --preset, --run and --model names the model.
    """
    given = chosen_model(preset, run, model)
    with library():
        from keras_pixelcnnpp.savedmodel.using import classify_files
    classify_files(given, images, csv)


@app.command(
    "complete",
    "complete --preset fashion_mnist shirt.png --rows 14",
    "complete --preset fashion_mnist shirt.png --mask mask.png",
)
def complete(
    image: Annotated[Path, typer.Argument(help="An image file of any size.")],
    preset: Preset = None,
    run: Run = None,
    model: ModelFile = None,
    rows: Annotated[
        int | None,
        typer.Option(min=0, help="Number of rows that are kept, from above. Default: half of all."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Instead: an image of the same size, white where pixels are unknown."),
    ] = None,
    particles: Annotated[
        int,
        typer.Option(min=1, help="With --mask, how many particles look for each completion."),
    ] = 64,
    label: Annotated[
        str | None,
        typer.Option(help="The class, by name or number. Default: at random, given what is kept."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of completions.")] = 5,
    output: Annotated[Path, output("The PNG file to write.")] = Path("completions.png"),
    seed: Seed = None,
    temperature: Temperature = 1.0,
    guidance: Guidance = 0.0,
) -> None:
    """Keep a part of an image, and sample the rest.

    The completions are written into one PNG file, after the image with the unknown part in gray.
    Exactly one of --preset, --run and --model names the model.
    """
    given = chosen_model(preset, run, model)
    if rows is not None and mask is not None:
        raise UserError("What is kept? Expected --rows or --mask. Received: both")
    with library():
        from keras_pixelcnnpp.savedmodel.using import complete_file
    how = {"temperature": temperature, "guidance": guidance, "num_particles": particles}
    complete_file(given, image, rows, mask, label, count, output, seed, how)


@app.command("score", "score --run runs/digits --data images --output scores.csv")
def score(
    data: Annotated[
        Path, typer.Option(help="A folder. All image files in it and below are scored.")
    ],
    output: Annotated[Path, output("The CSV file to write.")],
    preset: Preset = None,
    run: Run = None,
    model: ModelFile = None,
    workers: Workers = 1,
    resume: Resume = False,
) -> None:
    """Score a large set of images, into a CSV file.

    Each row has an image's class, probabilities and bits/dim. An image that can't be read has the
    class -1 and the reason. Exactly one of --preset, --run and --model names the model.
    """
    given = chosen_model(preset, run, model)
    with library():
        from keras_pixelcnnpp.savedmodel.using import score_files
    score_files(given, data, output, resume, workers)


@app.command("compress", "compress --run runs/digits images --output images.pxc")
def compress(
    images: Annotated[
        list[Path], typer.Argument(help="Image files of the model's size, or folders of such.")
    ],
    output: Annotated[Path, output("The file to write, such as images.pxc.")],
    preset: Preset = None,
    run: Run = None,
    model: ModelFile = None,
    resize: Annotated[
        Literal["center_crop", "stretch"] | None,
        typer.Option(
            help="How to fit images of another size or colors. Default: they are refused."
        ),
    ] = None,
) -> None:
    """Compress images into one file.

    An image takes about the bits/dim that the model gives it. Compression is lossless for a model
    of 256 levels; a model of fewer stores the nearest level. Decompressing needs the same model,
    on any machine, under any backend.
    Exactly one of --preset, --run and --model names the model.
    """
    given = chosen_model(preset, run, model)
    with library():
        from keras_pixelcnnpp.savedmodel.compression import compress_files
    compress_files(given, images, output, resize)


@app.command("decompress", "decompress images.pxc --run runs/digits --output back")
def decompress(
    file: Annotated[Path, typer.Argument(help="A file that compress wrote.")],
    output: Annotated[Path, output("The folder to write the images to.", folder=True)],
    preset: Preset = None,
    run: Run = None,
    model: ModelFile = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
) -> None:
    """Decompress a file into PNG files.

    They have the names of the original images. Exactly one of --preset, --run and --model names the
    model, which must be the one that compressed them.
    """
    given = chosen_model(preset, run, model)
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if not overwrite and output.is_dir() and any(output.iterdir()):
        raise UserError(
            f"{output} holds files already. Add --overwrite to replace those of the same names, or "
            "choose another folder"
        )
    with library():
        from keras_pixelcnnpp.savedmodel.compression import decompress_file
    decompress_file(given, file, output)


@app.command("export", "export --run runs/digits")
def export(
    run: Annotated[Path, typer.Option(help="Folder of the run.")],
    version: Annotated[
        int, typer.Option(min=1, help="Number of the version, the name of its folder.")
    ] = 1,
) -> None:
    """Export the model of a run as a SavedModel.

    It works without this package, and is written to savedmodel/1 in the run folder. The command
    needs TensorFlow; the model may have been trained under JAX or torch.
    """
    with library():
        from keras_pixelcnnpp.savedmodel.using import export_run
    export_run(run, version)


@app.command("serve", "serve --run runs/digits --port 8501")
def serve(
    run: Annotated[Path, typer.Option(help="Folder of the run, whose SavedModel is served.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 listens on all.")
    ] = "127.0.0.1",
    name: Annotated[
        str, typer.Option(help="Name of the model in the URL /v1/models/NAME:predict.")
    ] = "pixelcnnpp",
) -> None:
    """Serve the exported model of a run with KServe.

    The server speaks the REST protocol of TensorFlow Serving. Ctrl-C stops the server.
    """
    with library():
        from keras_pixelcnnpp.savedmodel import serving
    serving.serve(run, name, host, port)
