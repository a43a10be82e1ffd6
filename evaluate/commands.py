"""The commands `pixelcnnpp evaluate` and their options. The other files do the evaluation."""

import importlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_pixelcnnpp.command_helpers import Commands, SamplerOptions, library, option, with_options
from keras_pixelcnnpp.errors import UserError

if TYPE_CHECKING:
    from keras_pixelcnnpp.run import RunFolder

app = Commands(help="Evaluate a run, or a preset on some data, and write files to its reports.")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of all commands: a run or a preset, and the data."""

    run: Path | None = option("Run folder.")
    preset: str | None = option("Preset with weights to evaluate on --data instead of a run.")
    data: str | None = option(
        "Other data to evaluate on, as in pixelcnnpp train. Default: the run's."
    )
    output: Path | None = option(
        "Run folder to create for the preset. Default: runs/ and the preset's name."
    )

    @property
    def given(self) -> dict:
        """The options that have a value, without those that name the run, for the report."""
        of_run = ("run", "preset", "output")
        others = {name: value for name, value in vars(self).items() if name not in of_run}
        return {n: value for n, value in others.items() if value is not None and value is not False}


@dataclass(frozen=True, kw_only=True)
class DataOptions(RunOptions):
    """Options of the commands that read images."""

    classes_in_order: bool = option(
        "Match the classes of --data with those of the run by order, not by name.", False
    )


@dataclass(frozen=True, kw_only=True)
class SplitOptions(DataOptions):
    """Options of the commands that score the images of a split."""

    split: str | None = option(
        "Split to evaluate: train, validation or test. Default: validation; with --data, the first "
        "available of validation, test and all images."
    )
    batch_size: int = option("Number of images per batch.", 32, min=1)


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions(SplitOptions):
    """Options of `evaluate evidence`."""

    per_class: int = option("Number of images per class.", 4, min=1)


@dataclass(frozen=True, kw_only=True)
class LikelihoodOptions(SplitOptions):
    """Options of `evaluate likelihood`."""

    count: int = option("Maximum number of images.", 500, min=2)
    seed: int = option("Random seed.", 0, min=0)


@dataclass(frozen=True, kw_only=True)
class OODOptions(LikelihoodOptions):
    """Options of `evaluate ood`."""

    count: int = option("Maximum number of images of each kind.", 200, min=2)
    ood_data: str | None = option(
        "Further out-of-distribution images, as --data in pixelcnnpp train."
    )


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(SamplerOptions, DataOptions):
    """Options of `evaluate generation`."""

    per_class: int = option("Number of images per class.", 25, min=1)
    seed: int = option("Random seed.", 0, min=0)
    reference: str | None = option(
        "Split of real images to compare with: validation, test or none. Default: validation; "
        "with --data, the first available of validation, test and all images."
    )
    temperatures: str = option(
        "Temperatures of further sets of samples; may be empty.", "0.7,0.85,1,1.15"
    )
    completions: int = option("Number of completions of each real image; 0 for none.", 4, min=0)


@app.command(
    "classification",
    "evaluate classification --run runs/digits",
    "evaluate classification --preset fashion_mnist --data fashion_mnist --split test",
)
@with_options(SplitOptions)
def classification(options: SplitOptions) -> None:
    """Compare the run's model and its CNN as classifiers.

    Writes classification.json, confusion matrices, ROC curves, reliability.png,
    selective_accuracy.png, and a row for each image in predictions.csv and
    predictions_baseline.csv.
    """
    _evaluate(_folder(options), "classification", options)


@app.command("evidence", "evaluate evidence --run runs/digits --per-class 2")
@with_options(EvidenceOptions)
def evidence(options: EvidenceOptions) -> None:
    """Show which pixels the model's classifications rest on.

    The evidence of a pixel is its log-likelihood, in nats, under the true class minus its
    log-likelihood under the most probable other class. Writes evidence.png and evidence.json.
    """
    _evaluate(_folder(options), "evidence", options)


@app.command("likelihood", "evaluate likelihood --run runs/digits")
@with_options(LikelihoodOptions)
def likelihood(options: LikelihoodOptions) -> None:
    """Show where and how the model differs from images.

    Writes likelihood.json and likelihood.png: bits/dim of p(x); the probability integral transform
    of the sub-pixels and the coverage of their 50 and 90 % intervals; standardized surprisal of the
    images; and a map of the correlation between neighboring residuals. A text says what they show.
    """
    _evaluate(_folder(options), "likelihood", options)


@app.command(
    "ood",
    "evaluate ood --run runs/digits",
    "evaluate ood --run runs/digits --ood-data other_images",
)
@with_options(OODOptions)
def ood(options: OODOptions) -> None:
    """Measure how well out-of-distribution images are detected.

    Half of the split, at most --count images, is compared with other sets. The others, at most
    1,000, fit the detectors: AnomalyDetector, log p(x), its distance from the mean over normal
    images (typicality), log p(x) corrected for complexity (the size as a PNG file), the largest
    class probability of both classifiers, and the energy of the CNN. Writes ood.csv with a row for
    each image and its p-value; ood.json, also with thresholds that give 5 % false alarms; ood.png;
    and improbable.png, the most anomalous images with maps of standardized surprisal.
    """
    _evaluate(_folder(options), "ood", options)


@app.command(
    "generation",
    "evaluate generation --run runs/digits",
    "evaluate generation --run runs/digits --per-class 10 --temperatures 0.9,1",
)
@with_options(GenerationOptions)
def generation(options: GenerationOptions) -> None:
    """Sample images and compare them with real images.

    Writes the samples to the folder samples of the run (Class0_image_01.png and so on), and
    generation.json, samples.png, samples_Class0.png and so on, temperatures.png, completions.png
    and nearest_neighbors.png, which shows whether the model copies training images. Distances are
    measured on features of the run's baseline CNN.
    """
    _evaluate(_folder(options), "generation", options)


@app.command("report", "evaluate report --run runs/digits")
@with_options(RunOptions)
def report(options: RunOptions) -> None:
    """Write the results of a run as one page, index.html.

    The page contains its images, so it can be sent as a single file. It lists the commands for
    missing results.
    """
    _evaluate(_folder(options), "report", options)


@app.command(
    "all",
    "evaluate all --run runs/digits",
    "evaluate all --preset digits --data digits --split test",
)
@with_options(SplitOptions)
def everything(options: SplitOptions) -> None:
    """Run all evaluations that apply, and write the page.

    All other options have the defaults of their commands. --split is also the split of real images
    that samples are compared with, unless it is train.
    """
    folder = _folder(options)
    given = dict(vars(options))
    if options.split != "train":  # samples are compared with images not trained on
        given["reference"] = options.split
    for subject, declaration in _applicable(folder).items():
        shared = {one.name: given[one.name] for one in fields(declaration) if one.name in given}
        _evaluate(folder, subject, declaration(**shared))
    _evaluate(folder, "report", options)


def _folder(options: RunOptions) -> "RunFolder":
    """Returns the run to evaluate, with its reports on the data; a preset becomes a run first."""
    run, preset, data = options.run, options.preset, options.data
    if (run is None) == (preset is None) or (preset is not None and data is None):
        raise UserError(
            "Expected either --run FOLDER, or --preset NAME and --data DATA. "
            f"Received: run={run}, preset={preset}, data={data}"
        )
    if run is not None and options.output is not None:
        raise UserError("--output is for --preset. Files of a run are written to its own folder.")
    with library():
        from keras_pixelcnnpp.evaluate.preset_run import run_of_preset
        from keras_pixelcnnpp.run import RunFolder
    folder = RunFolder(run) if preset is None else run_of_preset(preset, options.output)
    # Results on other data must not replace those on the run's own data.
    return folder.measured_on(data) if data else folder


def _applicable(folder: "RunFolder") -> dict[str, type[RunOptions]]:
    """Returns the evaluations that apply to the model of a run, with their options."""
    config = folder.read_config()
    data = config["data"]
    model = config.get("pixelcnnpp", {}).get("model", {})
    num_classes = model.get("num_classes", len(data["class_names"]))
    subjects: dict[str, type[RunOptions]] = {"likelihood": LikelihoodOptions}
    if num_classes:
        subjects["classification"] = SplitOptions
    if data["image_shape"][-1] in (1, 3):
        subjects["generation"] = GenerationOptions
    if num_classes > 1:
        subjects["evidence"] = EvidenceOptions
    subjects["ood"] = OODOptions
    return subjects


def _evaluate(folder: "RunFolder", subject: str, options: RunOptions) -> None:
    with library():
        module = importlib.import_module(f"keras_pixelcnnpp.evaluate.{subject}")
    function = getattr(module, f"evaluate_{subject}")
    folder.read_config()  # an error if there is no run, whose folder the lock would create
    with folder.locked():
        function(folder, replace(options, data=folder.other_data))
