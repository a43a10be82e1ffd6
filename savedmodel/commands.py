"""`pixelcnnpp savedmodel …`; and `pixelcnnpp sample` and `classify`."""

import secrets
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.backend import graphs_as_traced, require_tensorflow
from keras_pixelcnnpp.checks import class_label, require_temperature
from keras_pixelcnnpp.data.images import png_bytes, read_image
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
from keras_pixelcnnpp.files import (
    atomic_path,
    counted,
    example,
    write_bytes,
    write_predictions,
)
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.savedmodel import serving
from keras_pixelcnnpp.savedmodel.compression import compress_files, decompress_file
from keras_pixelcnnpp.savedmodel.large_sets import images_below, sample_many, score_folder
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

app = typer.Typer(
    help="Export a trained model and use it; compress images.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


SavedModel = Annotated[
    Path, typer.Argument(help="A run folder, its folder savedmodel, or one version in that.")
]
Images = Annotated[
    list[Path],
    typer.Argument(
        help="Image files of any size: PNG, JPEG, WebP, BMP, GIF or TIFF; or folders of such. "
        "Folders below that are named as the model's classes give the true labels."
    ),
]
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
    int, typer.Option(min=0, max=2**31 - 1, help="The same seed gives the same images.")
]
Temperature = Annotated[
    float, typer.Option(help="Above 0. Below 1, images are more typical and less diverse.")
]


def output(text: str, folder: bool = False) -> Any:
    """An option of where to write: what is no such place is refused before the work, not after."""
    kinds = {"file_okay": not folder, "dir_okay": folder}
    return typer.Option(help=text, callback=_in_a_folder, **kinds)


def _in_a_folder(path: Path | None) -> Path | None:
    # Not made: its name may be mistyped.
    if path is not None and not (folder := path.absolute().parent).is_dir():
        raise UserError(f"There is no folder {folder} to write {path.name} to: make it first")
    return path


Csv = Annotated[Path | None, output("A CSV file to write the predictions to as well.")]


@app.command(epilog=example("savedmodel export --run runs/digits"))
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
    folder = RunFolder(run)
    config = folder.read_config()
    source = folder.require_model("pixelcnnpp")
    require_tensorflow()
    from keras_pixelcnnpp.export.endpoints import export_saved_model  # needs TensorFlow

    path = folder.savedmodel / str(version)
    export_saved_model(load_trained_model(source), path, config)
    print(
        f"Wrote {path}. Next: pixelcnnpp savedmodel classify {shlex.quote(str(folder.path))} IMAGE…"
    )


@app.command(epilog=example("savedmodel classify runs/digits image.png --csv predictions.csv"))
def classify(savedmodel: SavedModel, images: Images, csv: Csv = None) -> None:
    """Classify image files with an exported model."""
    _classify(SavedModelClassifier(savedmodel).load(), images, csv)


@app.command(epilog=example("savedmodel score runs/digits --data images --output scores.csv"))
def score(
    savedmodel: SavedModel,
    data: Annotated[
        Path, typer.Option(help="A folder. All image files in it and below are scored.")
    ],
    output: Annotated[Path, output("The CSV file to write.")],
    workers: Workers = 1,
    resume: Resume = False,
) -> None:
    """Score a large set of images, into a CSV file.

    Each row has an image's class, probabilities and bits/dim. An image that can't be read has the
    class -1 and the reason.
    """
    model = SavedModelClassifier(savedmodel).load()
    bits = score_folder(model, data, output, resume, workers)
    good = np.isfinite(bits)
    print(f"Wrote {output}: scored {good.sum()} of {counted(len(bits))}")
    if good.any():
        print(f"Mean: {bits[good].mean():.3f} {bits_unit(model.num_levels)}")


@app.command(epilog=example("savedmodel sample runs/digits --label 3 --count 100 --output samples"))
def sample(
    savedmodel: SavedModel,
    label: Annotated[list[str], typer.Option(help="A class, by name or number; may be repeated.")],
    output: Annotated[Path, output("The folder to write the images to.", folder=True)],
    count: Annotated[int, typer.Option(min=1, help="Number of images of each class.")] = 25,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    workers: Workers = 1,
    resume: Resume = False,
) -> None:
    """Sample images with an exported model.

    They are written as PNG files, Class1_image_01.png and so on.
    """
    require_temperature(temperature)
    model = SavedModelClassifier(savedmodel).load()
    classes = dict.fromkeys(class_label(model.class_names, name) for name in label)
    labels = np.repeat(list(classes), count)
    print(f"Sampling {counted(len(labels))}. The first step takes longest.")
    sampled = sample_many(model, labels, output, seed, temperature, resume, workers)
    kept = f", and kept {len(labels) - sampled} that were there" if sampled < len(labels) else ""
    print(f"Wrote {counted(sampled)} to {output}{kept}")


@app.command(epilog=example("savedmodel serve runs/digits --port 8501"))
def serve(
    savedmodel: SavedModel,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 listens on all.")
    ] = "127.0.0.1",
    name: Annotated[
        str, typer.Option(help="Name of the model in the URL /v1/models/NAME:predict.")
    ] = "pixelcnnpp",
) -> None:
    """Serve an exported model with KServe.

    The server speaks the REST protocol of TensorFlow Serving. Ctrl-C stops the server.
    """
    serving.serve(savedmodel, name, host, port)


@app.command(epilog=example("savedmodel compress runs/digits images --output images.pxc"))
def compress(
    model: Annotated[
        str, typer.Argument(help="A run folder, a preset with weights, or a .keras file.")
    ],
    images: Annotated[
        list[Path], typer.Argument(help="Image files of the model's size, or folders of such.")
    ],
    output: Annotated[Path, output("The file to write, such as images.pxc.")],
    resize: Annotated[
        Literal["center_crop", "stretch"] | None,
        typer.Option(
            help="How to fit images of another size or colors. Default: they are refused."
        ),
    ] = None,
) -> None:
    """Compress images into one file.

    An image takes about the bits/dim that the model gives it. Compression is lossless for a model
    of 256 levels; a model of fewer stores the nearest level. Before the file is written, the images
    are decoded and compared. Decompressing needs the same model, backend and kind of processor.
    """
    compress_files(model, images, output, resize)


@app.command(epilog=example("savedmodel decompress images.pxc --model runs/digits --output back"))
def decompress(
    file: Annotated[Path, typer.Argument(help="A file that compress wrote.")],
    model: Annotated[
        str,
        typer.Option(help="The same model: a run folder, a preset with weights, or a .keras file."),
    ],
    output: Annotated[Path, output("The folder to write the images to.", folder=True)],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
) -> None:
    """Decompress a file into PNG files.

    They have the names of the original images.
    """
    decompress_file(file, model, output, overwrite)


# Without exporting first: the commands `pixelcnnpp sample` and `pixelcnnpp classify`.

Trained = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="A preset with weights: one that pixelcnnpp presets lists, a folder or hf://USER/NAME.",
    ),
]
Run = Annotated[Path | None, typer.Option("--run", help="Folder of a run.")]
ModelFile = Annotated[Path | None, typer.Option("--model", help="A .keras file.")]


def sample_trained(
    preset: Trained = None,
    run: Run = None,
    model: ModelFile = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A class, by name or number; may be repeated. Default: all."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images of each class.")] = 10,
    output: Annotated[
        Path, output("The file to write: .png for a grid, .npy for an array of the images.")
    ] = Path("samples.png"),
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The same seed gives the same images. Default: a new one."),
    ] = None,
    temperature: Temperature = 1.0,
) -> None:
    """Sample images of each class with a trained model.

    They are written into one PNG file; or, if its name ends in .npy, as an array, uint8 (N, height,
    width, channels), ordered by class. Exactly one of --preset, --run and --model names the model.
    """
    trained = chosen_model(preset, run, model).model
    channels, as_array = trained.image_shape[2], output.suffix == ".npy"
    if channels not in (1, 3) and not as_array:
        raise UserError(
            f"A PNG file can't hold images of {channels} channels. Expected an --output such as "
            f"samples.npy. Received: {output}"
        )
    chosen = sorted({class_label(trained.class_names, name) for name in label or []})
    seed = secrets.randbelow(2**31) if seed is None else seed
    print(f"Sampling with --seed {seed}. The first step takes longest.")
    options = {"seed": seed, "temperature": temperature}
    with graphs_as_traced():
        samples = ClassSamples.sample(trained, count, chosen, **options)
    if as_array:
        with atomic_path(output) as temporary:
            np.save(temporary, samples.images)
    else:
        write_bytes(output, png_bytes(samples.overview(count)))
    rows = ", ".join(name for name, _ in samples.by_class())
    print(f"Wrote {output}, {'in this order' if as_array else 'from top to bottom'}: {rows}")


def classify_trained(
    images: Images,
    preset: Trained = None,
    run: Run = None,
    model: ModelFile = None,
    csv: Csv = None,
) -> None:
    """Classify image files with a trained model.

    Exactly one of --preset, --run and --model names the model.
    """
    with graphs_as_traced():
        _classify(chosen_model(preset, run, model), images, csv)


def _classify(
    classifier: SavedModelClassifier | TrainedModel, files: list[Path], csv: Path | None
) -> None:
    """Prints a table of the files' classes, and a line for each that is bad: the command fails.

    With labels that the folders give, the last line is the accuracy.
    """
    model = classifier.model if isinstance(classifier, TrainedModel) else classifier
    names, images, labels, bad = [], [], [], 0
    for file, label in _labeled_files(files, model.class_names):
        try:
            images.append(read_image(file, model.image_shape, **classifier.reading))
            names.append(str(file))
            labels.append(label)
        except UserError as error:
            print(f"pixelcnnpp: error: {error}", file=sys.stderr)
            bad += 1
    if not images:
        raise UserError("None of the files can be classified.")
    result, labels = classifier.classify(np.stack(images)), np.array(labels)
    known = labels >= 0
    table = Table()
    table.add_column("image", overflow="fold")
    for heading in ("true class", "class") if known.any() else ("class",):
        table.add_column(heading)
    table.add_column("probability", justify="right")
    table.add_column(bits_unit(model.num_levels), justify="right")
    columns = (result["class_id"], result["probabilities"], result["bits_per_dim"])
    for name, true, label, probabilities, bits in zip(names, labels, *columns, strict=True):
        classes = [model.class_names[label]]
        if known.any():
            classes.insert(0, model.class_names[true] if true >= 0 else "")
        table.add_row(name, *classes, f"{probabilities[label]:.1%}", f"{bits:.3f}")
    Console(markup=False, emoji=False).print(table)
    if csv is not None:
        of_model = result["probabilities"], model.class_names, result["bits_per_dim"]
        write_predictions(csv, names, labels, *of_model)
        print(f"Wrote {csv}")
    if known.any():
        accuracy = np.mean((result["class_id"] == labels)[known])
        print(f"Accuracy: {accuracy:.1%} of {counted(known.sum())} in folders named as a class")
    if bad:
        raise typer.Exit(2)


def _labeled_files(given: list[Path], class_names: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
    """Each file, and those below each folder, with the label that the innermost folder gives."""
    for path in given:
        if not path.is_dir():
            yield path, -1
            continue
        for name in images_below(path):
            parents = [part for part in PurePosixPath(name).parts[:-1] if part in class_names]
            yield path / name, class_names.index(parents[-1]) if parents else -1


def chosen_model(preset: str | None, run: Path | None, model: Path | None) -> TrainedModel:
    """The model that one of three options names; `UserError` if it isn't one, or not there."""
    given = [source for source in (preset, run, model) if source is not None]
    if len(given) != 1:
        raise UserError(
            "Which model? Expected one of: --preset NAME, --run FOLDER, --model FILE. "
            f"Received: {len(given)} of them"
        )
    if run is not None:
        RunFolder(run).require_model("pixelcnnpp")
    # A preset's own folder, whatever else of its name lies here.
    return TrainedModel.find(given[0] if preset is None else Preset(preset).path)
