"""The commands `pixelcnnpp evaluate …`: their options and help; a subject's file does the work."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer

from keras_pixelcnnpp.evaluate.classification import evaluate_classification
from keras_pixelcnnpp.evaluate.evidence import evaluate_evidence
from keras_pixelcnnpp.evaluate.generation import evaluate_generation
from keras_pixelcnnpp.evaluate.ood import evaluate_ood
from keras_pixelcnnpp.evaluate.report import write_page
from keras_pixelcnnpp.files import example
from keras_pixelcnnpp.run import RunFolder

app = typer.Typer(
    help="Measure a trained run. Files are written to its folder reports.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Run = Annotated[Path, typer.Option(help="Folder of the run.")]
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
Temperature = Annotated[
    float, typer.Option(help="Above 0. Below 1, images are more typical and less diverse.")
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
    epilog="""\b
Examples:
  pixelcnnpp evaluate classification --run runs/digits
  pixelcnnpp evaluate classification --run runs/digits --split test --partial"""
)
def classification(
    context: typer.Context,
    run: Run,
    data: Data = None,
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
    evaluate_classification(*_chosen(context))


@app.command(epilog=example("evaluate evidence --run runs/digits --per-class 2"))
def evidence(
    context: typer.Context,
    run: Run,
    data: Data = None,
    classes_in_order: ClassesInOrder = False,
    split: Split = None,
    per_class: PerClass = 4,
    batch_size: BatchSize = 32,
) -> None:
    """Show which pixels the model's classifications rest on.

    The evidence of a pixel is its log-likelihood, in nats, under the true class minus that under
    the most probable other class. Writes evidence.png and evidence.json.
    """
    evaluate_evidence(*_chosen(context))


@app.command(
    epilog="""\b
Examples:
  pixelcnnpp evaluate ood --run runs/digits
  pixelcnnpp evaluate ood --run runs/digits --ood-data other_images"""
)
def ood(
    context: typer.Context,
    run: Run,
    data: Data = None,
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
    evaluate_ood(*_chosen(context))


@app.command(
    epilog="""\b
Examples:
  pixelcnnpp evaluate generation --run runs/digits
  pixelcnnpp evaluate generation --run runs/digits --per-class 10 --temperatures 0.9,1"""
)
def generation(
    context: typer.Context,
    run: Run,
    per_class: PerClass = 25,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    data: Data = None,
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
    evaluate_generation(*_chosen(context))


@app.command(epilog=example("evaluate report --run runs/digits"))
def report(run: Run) -> None:
    """Write what was measured of a run as one page, index.html.

    The page contains its images, so it can be sent as one file. It lists what was not measured yet
    with the command that measures it.
    """
    write_page(RunFolder(run))


def _chosen(context: typer.Context) -> tuple:
    """What a subject's function takes: the run's folder, and every other option by its name.

    And `verbose`: progress bars on a terminal, nothing in a file or a pipe; and `given`, what a
    report's JSON keeps: not what has no value, nor flags not set.
    """
    options = {name: value for name, value in context.params.items() if name != "run"}
    given = {
        name: value for name, value in options.items() if value is not None and value is not False
    }
    verbose = int(sys.stdout.isatty())
    run = RunFolder(context.params["run"])
    # What is measured on other data doesn't replace what was measured on the run's own.
    run = run.measured_on(options["data"]) if options["data"] else run
    return run, SimpleNamespace(**options, given=given, verbose=verbose)
