"""`pixelcnnpp savedmodel …`: seven commands; they import when they run, so that --help is fast."""

import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from keras_pixelcnnpp.files import local_path

app = typer.Typer(help="Export a trained model as a SavedModel, and use one.", no_args_is_help=True)

SavedModel = Annotated[
    Path, typer.Argument(help="A run, runs/NAME/savedmodel, or one version in it.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures per step.")]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="A Ray cluster whose machines share the work, such as head:6379; all must see the "
        "same files. By default, workers are processes of this machine.",
    ),
]


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
    # Before anything imports Keras, which reads it once.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from keras_pixelcnnpp.run import RunFolder, require_data

    folder = RunFolder(run)
    config = folder.read_config()
    data = require_data(config, "class_names")
    source = folder.require_model("pixelcnnpp")
    _require_tensorflow()
    from keras_pixelcnnpp.export.endpoints import export_saved_model
    from keras_pixelcnnpp.models.archive import load_trained_model

    model = load_trained_model(source)
    path = folder.savedmodel / str(version)
    export_saved_model(model, path, tuple(data["class_names"]), config)
    print(
        f"Wrote {path}. Next: pixelcnnpp savedmodel classify {shlex.quote(str(folder.path))} IMAGE…"
    )


def _require_tensorflow() -> None:
    from importlib.util import find_spec

    from keras_pixelcnnpp.errors import UserError

    if find_spec("tensorflow") is None:
        raise UserError(
            "Exporting needs TensorFlow, which is not installed: pip install tensorflow"
        )


@app.command()
def classify(
    savedmodel: SavedModel,
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files of any size.")],
    csv: Annotated[Path | None, typer.Option(help="Write the predictions here too.")] = None,
    batch_size: BatchSize = 64,
) -> None:
    """Classify pictures with an exported model."""
    from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
    from keras_pixelcnnpp.savedmodel.classification import classify_files

    classifier = SavedModelClassifier(savedmodel, batch_size)

    def of_folders(folder):
        words = ["pixelcnnpp", "savedmodel", "score", str(savedmodel), "--data", str(folder)]
        return f"All pictures below it: {shlex.join([*words, '--output', 'scores'])}"

    if not classify_files(classifier, images, csv, of_folders):
        raise typer.Exit(2)


@app.command()
def score(
    savedmodel: SavedModel,
    data: Annotated[Path, typer.Option(help="A folder: all PNG and JPEG files below it.")],
    output: Annotated[Path, output("Folder for the parts.")],
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share the work; above 1, it needs Ray.")
    ] = 1,
    ray_address: RayAddress = None,
    part_size: Annotated[int, typer.Option(min=1, help="Pictures in a part.")] = 512,
    batch_size: BatchSize = 64,
) -> None:
    """Score a large set of pictures: class, probabilities and bits/dim of each.

    Writes scores-00000.csv and so on, and summary.json when all are there. What was broken off
    goes on with the same command. A picture that can't be read is marked in its row.
    """
    from keras_pixelcnnpp.export.saved_model import ExportedModel
    from keras_pixelcnnpp.savedmodel.jobs import ScoringJob
    from keras_pixelcnnpp.savedmodel.parts import make_parts, require_workers

    require_workers(workers)
    exported = ExportedModel(savedmodel)
    job = ScoringJob(data, output, exported, part_size, batch_size)
    summary = make_parts(job, exported, workers, ray_address)
    readable = summary["pictures"] - summary["unreadable"]
    print(f"Scored {readable} of {summary['pictures']} pictures")
    if readable:
        print(f"Mean: {summary['bits_per_dim']:.3f} bits/dim")
    print(f"Wrote {job.num_blocks} parts and {output / 'summary.json'}")


@app.command()
def sample(
    savedmodel: SavedModel,
    label: Annotated[list[str], typer.Option(help="A class, by name or number. May be repeated.")],
    output: Annotated[Path, output("Folder for the pictures.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 25,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Same seed, same pictures.")] = 0,
    temperature: Annotated[
        float, typer.Option(help="Above 0; below 1, safer and smoother pictures.")
    ] = 1.0,
    batch_size: BatchSize = 100,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Draw in parts, with so many processes; above 1, it needs Ray."),
    ] = None,
    ray_address: RayAddress = None,
) -> None:
    """Draw pictures with an exported model, as PNG files: Class1_image_01.png and so on.

    With --workers, for many: the same pictures in folders part-00000 and so on, one for each step.
    What was broken off goes on with the same command.
    """
    import numpy as np

    from keras_pixelcnnpp.checks import require_temperature
    from keras_pixelcnnpp.errors import argument_errors
    from keras_pixelcnnpp.export.saved_model import ExportedModel, sample_exported
    from keras_pixelcnnpp.sampling.class_samples import class_label
    from keras_pixelcnnpp.savedmodel.jobs import SamplingJob
    from keras_pixelcnnpp.savedmodel.parts import make_parts, require_workers

    with argument_errors(temperature="temperature"):
        require_temperature(temperature)
    exported = ExportedModel(savedmodel)
    classes = dict.fromkeys(class_label(exported.class_names, name) for name in label)
    labels = np.repeat(list(classes), count)
    if workers is not None:
        require_workers(workers)
        job = SamplingJob(labels, output, exported, seed, temperature, batch_size)
        summary = make_parts(job, exported, workers, ray_address)
        print(f"Wrote {summary['pictures']} pictures to {output}, in {job.num_blocks} parts")
        return
    print(f"Drawing {len(labels)} pictures. The first step takes longest.")
    samples = sample_exported(exported, labels, seed, temperature, batch_size)
    samples.write(output)
    print(f"Wrote {len(samples)} pictures to {output}")


@app.command()
def serve(
    savedmodel: SavedModel,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8501,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is every one.")
    ] = "127.0.0.1",
    name: Annotated[str, typer.Option(help="The name in /v1/models/NAME:predict.")] = "pixelcnnpp",
) -> None:
    """Serve an exported model with TensorFlow Serving if it is installed, else with KServe.

    Both speak TensorFlow Serving's REST protocol. Stop it with Ctrl-C.
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
    output: Annotated[Path, output("The file to write, such as pictures.pxc; a folder for parts.")],
    resize: Annotated[
        Literal["crop", "squeeze"] | None,
        typer.Option(help="Fit pictures of another size, colours or levels, instead of refusing."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="The class of all pictures, by name or number; else each one's best."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1024, help="Pictures per step, here and in decompressing.")
    ] = 100,
    part_size: Annotated[
        int | None, typer.Option(min=1, help="For many: write parts of so many pictures.")
    ] = None,
) -> None:
    """Compress pictures without loss, to about the bits per dimension that the model gives them.

    They are decoded and compared before the file is written. Decompressing needs the same model,
    backend and kind of machine. With --part-size, what was broken off goes on with the same
    command.
    """
    from keras_pixelcnnpp.savedmodel.compression import compress_files

    compress_files(model, images, output, resize, label, batch_size, part_size)


@app.command()
def decompress(
    file: Annotated[
        Path, typer.Argument(help="What `compress` wrote: a file, or a folder of parts.")
    ],
    model: Annotated[str, typer.Option(help="The model that compressed them, as there.")],
    output: Annotated[Path, output("Folder for the pictures.")],
) -> None:
    """Decompress pictures, as PNG files of the names that they had."""
    from keras_pixelcnnpp.savedmodel.compression import decompress_file

    decompress_file(file, model, output)


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
    count: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 10,
    output: Annotated[Path, output("The PNG file.")] = Path("samples.png"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="Same seed, same pictures. By default, new ones.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Above 0; below 1, safer and smoother pictures.")
    ] = 1.0,
    guidance: Annotated[
        float, typer.Option(min=0, help="Above 0: more typical of the class, if it can.")
    ] = 0.0,
) -> None:
    """Draw pictures of each class with a trained model, into one PNG file."""
    source = trained_source(preset, run, model)
    from keras_pixelcnnpp.errors import argument_errors
    from keras_pixelcnnpp.savedmodel.trained import TrainedModel, draw_grid

    trained = TrainedModel.find(source)
    arguments = {"seed": seed, "temperature": temperature, "guidance": guidance}
    with argument_errors():
        draw_grid(trained, label or [], count, output, **arguments)


def classify_trained(
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files of any size.")],
    preset: Trained = None,
    run: Run = None,
    model: ModelFile = None,
    csv: Annotated[Path | None, typer.Option(help="Write the predictions here too.")] = None,
) -> None:
    """Classify pictures with a trained model."""
    source = trained_source(preset, run, model)
    from keras_pixelcnnpp.savedmodel.classification import classify_files
    from keras_pixelcnnpp.savedmodel.trained import TrainedModel

    def of_folders(folder):
        return f"Name the pictures: {shlex.quote(str(folder))}/*.png"

    if not classify_files(TrainedModel.find(source), images, csv, of_folders):
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
        if not model.is_file():
            raise UserError(f"Expected a .keras file. Received: --model {model}, which isn't there")
        return model
    return PresetFolder.find(preset).path  # whatever else of this name lies here
