"""The commands `pixelcnnpp evaluate …`: their options and help; a subject's file does the work."""

import importlib
import inspect
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

from keras_pixelcnnpp.command import Commands, Guidance, Temperature, library
from keras_pixelcnnpp.errors import UserError

if TYPE_CHECKING:
    from keras_pixelcnnpp.run import RunFolder

app = Commands(
    help="Measure a trained run, or a preset on some data. Files are written to a folder reports."
)

Run = Annotated[Path | None, typer.Option(help="Folder of the run.")]
Preset = Annotated[
    str | None,
    typer.Option(help="Instead of a run: a preset with weights, which is measured on --data."),
]
Output = Annotated[
    Path | None,
    typer.Option(help="Run folder to make of the preset. Default: runs/ and the preset's name."),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="Other data to measure on, in any form that training takes. Default: the run's."
    ),
]
ClassesInOrder = Annotated[
    bool,
    typer.Option(
        "--classes-in-order",
        help="Take the classes of --data for the run's in their order, whatever their names are.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Part of the data: train, validation or test. Default: validation; of --data, the "
        "first that is there of validation, test and all images."
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Number of images that are scored at once.")]
PerClass = Annotated[int, typer.Option(min=1, help="Number of images of each class.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")]
Partial = Annotated[
    bool, typer.Option("--partial", help="Classify by the first rows of each image as well.")
]
Count = Annotated[int, typer.Option(min=2, help="Largest number of images of each kind.")]
OODData = Annotated[
    str | None,
    typer.Option(help="Further out-of-distribution images, in any form that training takes."),
]
Reference = Annotated[
    str | None,
    typer.Option(
        help="Split of real images to compare with: validation, test or none. Default: validation; "
        "of --data, the first that is there of validation, test and all images."
    ),
]
Temperatures = Annotated[
    str, typer.Option(help="Further temperatures, each for a set of images; may be empty.")
]
Completions = Annotated[
    int, typer.Option(min=0, help="Number of completions of each of some real images; 0 for none.")
]


@app.command(
    "classification",
    "evaluate classification --run runs/digits",
    "evaluate classification --preset fashion_mnist --data fashion_mnist --split test",
)
def classification(
    context: typer.Context,
    run: Run = None,
    preset: Preset = None,
    data: Data = None,
    output: Output = None,
    classes_in_order: ClassesInOrder = False,
    split: Split = None,
    batch_size: BatchSize = 32,
    partial: Partial = False,
) -> None:
    """Compare the run's model and its CNN as classifiers.

    Writes classification.json, confusion matrices, ROC curves, reliability.png,
    selective_accuracy.png, and a row for each image in predictions.csv and
    predictions_baseline.csv; with --partial also partial.json and partial.png.
    """
    _measure(_folder(context.params), "classification", context.params)


@app.command("evidence", "evaluate evidence --run runs/digits --per-class 2")
def evidence(
    context: typer.Context,
    run: Run = None,
    preset: Preset = None,
    data: Data = None,
    output: Output = None,
    classes_in_order: ClassesInOrder = False,
    split: Split = None,
    per_class: PerClass = 4,
    batch_size: BatchSize = 32,
) -> None:
    """Show which pixels the model's classifications rest on.

    The evidence of a pixel is its log-likelihood, in nats, under the true class minus that under
    the most probable other class. Writes evidence.png and evidence.json.
    """
    _measure(_folder(context.params), "evidence", context.params)


@app.command(
    "ood",
    "evaluate ood --run runs/digits",
    "evaluate ood --run runs/digits --ood-data other_images",
)
def ood(
    context: typer.Context,
    run: Run = None,
    preset: Preset = None,
    data: Data = None,
    output: Output = None,
    classes_in_order: ClassesInOrder = False,
    split: Split = None,
    count: Count = 200,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    ood_data: OODData = None,
) -> None:
    """Measure how well out-of-distribution images are detected.

    Detectors are log p(x), the same corrected for complexity (the size as a PNG file), and the
    largest class probability. Writes ood.json and ood.png.
    """
    _measure(_folder(context.params), "ood", context.params)


@app.command(
    "generation",
    "evaluate generation --run runs/digits",
    "evaluate generation --run runs/digits --per-class 10 --temperatures 0.9,1",
)
def generation(
    context: typer.Context,
    run: Run = None,
    preset: Preset = None,
    data: Data = None,
    output: Output = None,
    per_class: PerClass = 25,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    guidance: Guidance = 0.0,
    classes_in_order: ClassesInOrder = False,
    reference: Reference = None,
    temperatures: Temperatures = "0.7,0.85,1,1.15",
    completions: Completions = 4,
) -> None:
    """Sample images and compare them with real images.

    Writes the folder samples of the run (Class0_image_01.png and so on); and generation.json,
    samples.png, samples_Class0.png and so on, temperatures.png, nearest_neighbors.png (is it
    copying?) and completions.png. Distances are those of features of the run's baseline CNN.
    """
    _measure(_folder(context.params), "generation", context.params)


@app.command("report", "evaluate report --run runs/digits")
def report(
    context: typer.Context,
    run: Run = None,
    preset: Preset = None,
    data: Data = None,
    output: Output = None,
) -> None:
    """Write what was measured of a run as one page, index.html.

    The page contains its images, so it can be sent as one file. It lists what was not measured yet
    with the command that measures it.
    """
    folder = _folder(context.params)
    with library():
        from keras_pixelcnnpp.evaluate.report import write_page
    write_page(folder)


@app.command(
    "all",
    "evaluate all --run runs/digits",
    "evaluate all --preset digits --data digits --split test",
)
def everything(
    context: typer.Context,
    run: Run = None,
    preset: Preset = None,
    data: Data = None,
    output: Output = None,
    classes_in_order: ClassesInOrder = False,
    split: Split = None,
    batch_size: BatchSize = 32,
) -> None:
    """Measure all that applies to the model, with the defaults of the other commands.

    Then write the page. --split is also the split of real images that samples are compared with.
    """
    folder = _folder(context.params)
    given = {**context.params, "reference": split}
    for command in _applicable(folder):
        parameters = inspect.signature(command).parameters
        options = {name: given.get(name, one.default) for name, one in parameters.items()}
        _measure(folder, command.__name__, options)
    report(context)


def _folder(options: dict) -> "RunFolder":
    """The run that a command is for, with its reports on the data; of a preset, one is made."""
    run, preset, data, output = (options[name] for name in ("run", "preset", "data", "output"))
    if (run is None) == (preset is None) or (preset is not None and data is None):
        raise UserError(
            "What is measured? Expected either --run FOLDER, or --preset NAME and --data DATA."
        )
    if run is not None and output is not None:
        raise UserError("--output is for --preset. Files of a run are written to its own folder.")
    with library():
        from keras_pixelcnnpp.evaluate.shipped import run_of_preset
        from keras_pixelcnnpp.run import RunFolder
    folder = RunFolder(run) if preset is None else run_of_preset(preset, output)
    # What is measured on other data doesn't replace what was measured on the run's own.
    return folder.measured_on(data) if data else folder


def _applicable(folder: "RunFolder") -> list:
    """The commands that can measure the model of a run."""
    config = folder.read_config()
    data = config["data"]
    model = config.get("pixelcnnpp", {}).get("model", {})
    num_classes = model.get("num_classes", len(data["class_names"]))
    commands = [classification] if num_classes else []
    commands += [generation]
    commands += [evidence] if num_classes > 1 else []
    return commands + ([ood] if data["image_shape"][-1] in (1, 3) else [])


def _measure(folder: "RunFolder", subject: str, options: dict) -> None:
    """Calls a subject's function with the run's folder, and every option by its name.

    And `verbose`: progress bars on a terminal, nothing in a file or a pipe; and `given`, what a
    report's JSON keeps: not what has no value, nor flags not set.
    """
    taken = dict(options)
    for name in ("context", "run", "preset", "output"):
        taken.pop(name, None)
    given = {
        name: value for name, value in taken.items() if value is not None and value is not False
    }
    with library():
        module = importlib.import_module(f"keras_pixelcnnpp.evaluate.{subject}")
    function = getattr(module, f"evaluate_{subject}")
    function(folder, SimpleNamespace(**taken, given=given, verbose=int(sys.stdout.isatty())))
