"""The commands `pixelcnnpp evaluate …`: their options and help; a subject's file does the work."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer

app = typer.Typer(help="Measure a trained run.", no_args_is_help=True)

Run = Annotated[Path, typer.Option(help="The run folder.")]
Data = Annotated[str | None, typer.Option(help="Other data than the run's own.")]
Split = Annotated[str, typer.Option(help="train, validation or test.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per step.")]
PerClass = Annotated[int, typer.Option(min=1, help="Images of each class.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same images.")]
FlipAverage = Annotated[
    bool, typer.Option("--tta-flip", help="Judge each image and its mirror image together.")
]
Partial = Annotated[bool, typer.Option("--partial", help="Judge the first rows as well.")]
Count = Annotated[int, typer.Option(min=2, help="Images of each kind, at most.")]
OODData = Annotated[str | None, typer.Option(help="Images of your own: data as for training.")]
Background = Annotated[
    Path | None, typer.Option(help="A run trained with --mutation-rate: adds the likelihood ratio.")
]
Temperature = Annotated[float, typer.Option(help="Above 0; below 1, safer, smoother images.")]
Guidance = Annotated[float, typer.Option(help="Exaggerates the class, after label dropout.")]
Reference = Annotated[str, typer.Option(help="Split of real images to compare with, or none.")]
Temperatures = Annotated[str, typer.Option(help="Sampled side by side, a set each; or empty.")]
Completions = Annotated[int, typer.Option(min=0, help="Completions of each of some images.")]


@app.command()
def classification(
    context: typer.Context,
    run: Run,
    data: Data = None,
    split: Split = "validation",
    batch_size: BatchSize = 32,
    tta_flip: FlipAverage = False,
    partial: Partial = False,
) -> None:
    """Compare PixelCNN++ and the baseline CNN as classifiers.

    Writes reports/classification.json, confusion matrices, ROC curves, reliability.png,
    selective_accuracy.png, and per image predictions.csv (PixelCNN++) and
    predictions_baseline.csv; with --partial also partial.json and partial.png.
    """
    from keras_pixelcnnpp.evaluate.classification import evaluate_classification

    evaluate_classification(*_chosen(context))


@app.command()
def evidence(
    context: typer.Context,
    run: Run,
    data: Data = None,
    split: Split = "validation",
    per_class: PerClass = 4,
    batch_size: BatchSize = 32,
) -> None:
    """Show where in the images PixelCNN++'s decisions come from.

    Each pixel's evidence for the true class, against the most probable other one. Writes
    reports/evidence.png and reports/evidence.json.
    """
    from keras_pixelcnnpp.evaluate.evidence import evaluate_evidence

    evaluate_evidence(*_chosen(context))


@app.command()
def ood(
    context: typer.Context,
    run: Run,
    data: Data = None,
    split: Split = "validation",
    count: Count = 200,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    ood_data: OODData = None,
    background: Background = None,
) -> None:
    """Tell images like those of the training from out-of-distribution ones.

    By log p(x), corrected for complexity (the size as a PNG file) or by a background model, and by
    the largest class probability. Writes reports/ood.json and reports/ood.png.
    """
    from keras_pixelcnnpp.evaluate.ood import evaluate_ood

    evaluate_ood(*_chosen(context))


@app.command()
def generation(
    context: typer.Context,
    run: Run,
    per_class: PerClass = 25,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    guidance: Guidance = 0.0,
    data: Data = None,
    reference: Reference = "validation",
    temperatures: Temperatures = "0.7,0.85,1,1.15",
    completions: Completions = 4,
) -> None:
    """Draw images of each class and compare them with real ones.

    Writes samples/Class0_image_01.png and so on; to reports/: generation.json, grids
    samples.png and samples_Class0.png, temperatures.png, and beside real images
    nearest_neighbours.png (is it copying?) and completions.png. Distances to real images are of
    the features of the run's baseline CNN.
    """
    from keras_pixelcnnpp.evaluate.generation import evaluate_generation

    evaluate_generation(*_chosen(context))


@app.command()
def report(run: Run) -> None:
    """Write all that is known of a run as one page, reports/index.html.

    The page holds its images: it can be mailed, and read without a network. What was not measured
    yet is named with the command that measures it.
    """
    from keras_pixelcnnpp.evaluate.report import write_page
    from keras_pixelcnnpp.run import RunFolder

    write_page(RunFolder(run))


def _chosen(context: typer.Context) -> tuple:
    """What a subject's function takes: the run's folder, and every other option by its name.

    And `verbose`: progress bars on a terminal, nothing in a file or a pipe; and `given`, what a
    report's JSON keeps: not what has no value, nor flags not set.
    """
    from keras_pixelcnnpp.run import RunFolder

    options = {name: value for name, value in context.params.items() if name != "run"}
    given = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in options.items()
        if value is not None and value is not False
    }
    verbose = int(sys.stdout.isatty())
    return RunFolder(context.params["run"]), SimpleNamespace(
        **options, given=given, verbose=verbose
    )
