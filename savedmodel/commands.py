"""`pixelcnnpp savedmodel …`: seven commands; they import when they run, so that --help is fast."""

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from keras_pixelcnnpp.files import local_path

app = typer.Typer(help="Export a trained model as a SavedModel, and use one.", no_args_is_help=True)

SavedModel = Annotated[
    Path, typer.Argument(help="A run, runs/NAME/savedmodel, or one version in it.")
]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes that share the work; above 1, it needs Ray.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="A Ray cluster whose machines share the work, such as head:6379; all must see the "
        "same files. By default, workers are processes of this machine.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where it was broken off.")]
Csv = Annotated[Path | None, typer.Option(help="Write the predictions here too.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Same seed, same images.")]
Temperature = Annotated[float, typer.Option(help="Above 0; below 1, safer and smoother images.")]


def output(text: str) -> Any:
    """An option of where to write: a URL is refused before the work, not after it."""
    return typer.Option(help=text, callback=local_path)


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="The run folder.")],
    version: Annotated[int, typer.Option(min=1, help="The number of the version's folder.")] = 1,
) -> None:
    """Write runs/NAME/savedmodel/1/, which works where this package is not installed.

    A model that was trained under JAX or torch is loaded under TensorFlow for it.
    """
    from keras_pixelcnnpp.backend import require_tensorflow
    from keras_pixelcnnpp.run import RunFolder, require_data

    folder = RunFolder(run)
    config = folder.read_config()
    data = require_data(config, "class_names")
    source = folder.require_model("pixelcnnpp")
    require_tensorflow()
    from keras_pixelcnnpp.export.endpoints import export_saved_model
    from keras_pixelcnnpp.models.archive import load_trained_model

    path = folder.savedmodel / str(version)
    export_saved_model(load_trained_model(source), path, tuple(data["class_names"]), config)
    print(
        f"Wrote {path}. Next: pixelcnnpp savedmodel classify {shlex.quote(str(folder.path))} IMAGE…"
    )


@app.command()
def classify(
    savedmodel: SavedModel,
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files of any size.")],
    csv: Csv = None,
) -> None:
    """Classify images with an exported model."""
    from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
    from keras_pixelcnnpp.savedmodel.trained import classify_files

    if not classify_files(SavedModelClassifier(savedmodel), images, csv):
        raise typer.Exit(2)


@app.command()
def score(
    savedmodel: SavedModel,
    data: Annotated[Path, typer.Option(help="A folder: all PNG and JPEG files below it.")],
    output: Annotated[Path, output("The CSV file to write.")],
    workers: Workers = 1,
    ray_address: RayAddress = None,
    resume: Resume = False,
) -> None:
    """Score a large set of images: class, probabilities and bits/dim of each.

    An image that can't be read is marked in its row.
    """
    import numpy as np

    from keras_pixelcnnpp.distributions.levels import bits_unit
    from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
    from keras_pixelcnnpp.savedmodel.large_sets import score_folder

    model = SavedModelClassifier(savedmodel)
    bits = score_folder(model, data, output, resume, workers, ray_address)
    good = np.isfinite(bits)
    print(f"Wrote {output}: scored {good.sum()} of {len(bits)} images")
    if good.any():
        print(f"Mean: {bits[good].mean():.3f} {bits_unit(model.num_levels)}")


@app.command()
def sample(
    savedmodel: SavedModel,
    label: Annotated[list[str], typer.Option(help="A class, by name or number. May be repeated.")],
    output: Annotated[Path, output("Folder for the images.")],
    count: Annotated[int, typer.Option(min=1, help="Images of each class.")] = 25,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    workers: Workers = 1,
    ray_address: RayAddress = None,
    resume: Resume = False,
) -> None:
    """Sample images with an exported model, as PNG files: Class1_image_01.png and so on."""
    import numpy as np

    from keras_pixelcnnpp.checks import require_temperature
    from keras_pixelcnnpp.errors import argument_errors
    from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
    from keras_pixelcnnpp.sampling.class_samples import class_label
    from keras_pixelcnnpp.savedmodel.large_sets import sample_many

    with argument_errors():
        require_temperature(temperature)
    model = SavedModelClassifier(savedmodel)
    classes = dict.fromkeys(class_label(model.class_names, name) for name in label)
    labels = np.repeat(list(classes), count)
    print(f"Sampling {len(labels)} images. The first step takes longest.")
    sample_many(model, labels, output, seed, temperature, resume, workers, ray_address)
    print(f"Wrote {len(labels)} images to {output}")


@app.command()
def serve(
    savedmodel: SavedModel,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8501,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is every one.")
    ] = "127.0.0.1",
    name: Annotated[str, typer.Option(help="The name in /v1/models/NAME:predict.")] = "pixelcnnpp",
) -> None:
    """Serve an exported model with KServe, by TensorFlow Serving's REST protocol.

    Stop it with Ctrl-C.
    """
    from keras_pixelcnnpp.savedmodel import serving

    serving.serve(savedmodel, name, host, port)


Model = Annotated[str, typer.Argument(help="A run, a preset with weights, or a .keras file.")]


@app.command()
def compress(
    model: Model,
    images: Annotated[
        list[Path],
        typer.Argument(help="PNG or JPEG files of the model's size; folders, for all below."),
    ],
    output: Annotated[Path, output("The file to write, such as images.pxc.")],
    resize: Annotated[
        Literal["center_crop", "stretch"] | None,
        typer.Option(help="Fit images of another size or colors, instead of refusing."),
    ] = None,
) -> None:
    """Compress images to about the bits per dimension that the model gives them.

    A model of 256 levels loses nothing, one of fewer keeps the nearest. The images are decoded and
    compared before the file is written. Decompressing needs the same model, backend and kind of
    machine.
    """
    from keras_pixelcnnpp.savedmodel.compression import compress_files

    compress_files(model, images, output, resize)


@app.command()
def decompress(
    file: Annotated[Path, typer.Argument(help="What `compress` wrote.")],
    model: Annotated[str, typer.Option(help="The model that compressed them, as there.")],
    output: Annotated[Path, output("Folder for the images.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
) -> None:
    """Decompress images, as PNG files of the names that they had."""
    from keras_pixelcnnpp.savedmodel.compression import decompress_file

    decompress_file(file, model, output, overwrite)


# Without exporting first: the commands `pixelcnnpp sample` and `pixelcnnpp classify`.

Trained = Annotated[
    str | None, typer.Option("--preset", help="A preset with weights: see pixelcnnpp presets.")
]
Run = Annotated[Path | None, typer.Option("--run", help="A run folder.")]
ModelFile = Annotated[Path | None, typer.Option("--model", help="A .keras file.")]


def sample_trained(
    preset: Trained = None,
    run: Run = None,
    model: ModelFile = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A class, by name or number; may be repeated. By default, all."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images of each class.")] = 10,
    output: Annotated[Path, output("The PNG file.")] = Path("samples.png"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="Same seed, same images. By default, new ones.")
    ] = None,
    temperature: Temperature = 1.0,
    guidance: Annotated[
        float, typer.Option(min=0, help="Above 0: more typical of the class, if it can.")
    ] = 0.0,
) -> None:
    """Sample images of each class with a trained model, into one PNG file."""
    source = trained_source(preset, run, model)
    from keras_pixelcnnpp.data.images import png_bytes
    from keras_pixelcnnpp.errors import argument_errors
    from keras_pixelcnnpp.files import write_bytes
    from keras_pixelcnnpp.sampling.class_samples import ClassSamples, class_label
    from keras_pixelcnnpp.savedmodel.trained import TrainedModel

    trained = TrainedModel.find(source)
    names = trained.class_names
    chosen = sorted({class_label(names, name) for name in label or []})
    print("Sampling. The first step takes longest.")
    options = {"seed": seed, "temperature": temperature, "guidance": guidance}
    with argument_errors():
        samples = ClassSamples.draw(trained.model, names, count, chosen, **options)
    write_bytes(output, png_bytes(samples.overview(count)))
    rows = ", ".join(name for name, _ in samples.by_class())
    print(f"Wrote {output}, from top to bottom: {rows}")


def classify_trained(
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files of any size.")],
    preset: Trained = None,
    run: Run = None,
    model: ModelFile = None,
    csv: Csv = None,
) -> None:
    """Classify images with a trained model."""
    source = trained_source(preset, run, model)
    from keras_pixelcnnpp.savedmodel.trained import TrainedModel, classify_files

    if not classify_files(TrainedModel.find(source), images, csv):
        raise typer.Exit(2)


def trained_source(preset: str | None, run: Path | None, model: Path | None) -> Path:
    """Where the one of the three that was given lies; `UserError` if it isn't one, or not there."""
    from keras_pixelcnnpp.errors import UserError
    from keras_pixelcnnpp.presets import PresetFolder
    from keras_pixelcnnpp.run import RunFolder

    given = [source for source in (preset, run, model) if source is not None]
    if len(given) != 1:
        raise UserError(
            "Which model? Expected one of: --preset NAME, --run FOLDER, --model FILE. "
            f"Received: {len(given)} of them"
        )
    if run is not None:
        RunFolder(run).require_model("pixelcnnpp")
        return run
    if model is not None:
        return model
    return PresetFolder.find(preset).path  # whatever else of this name lies here
