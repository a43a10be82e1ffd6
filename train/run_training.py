"""Runs the training commands: data, model, run folder and training."""

import io
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import typer

from keras_pixelcnnpp.commands.helpers import command_line
from keras_pixelcnnpp.conditions import Part, Vectors
from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.data.load import source_of
from keras_pixelcnnpp.data.source import DataSource
from keras_pixelcnnpp.models.archive import NETWORKS, copy_initial_weights
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.recipes.recipe import (
    FORMAT,
    MONITORING,
    BaselineRecipe,
    PixelCNNRecipe,
    Recipe,
    recipe_of_run,
)
from keras_pixelcnnpp.train.claim import claim
from keras_pixelcnnpp.train.commands import RunOptions, TrainOptions
from keras_pixelcnnpp.train.data import (
    data_section,
    load_larger,
    load_preset,
    load_training_data,
)
from keras_pixelcnnpp.train.monitors import (
    HistoryFile,
    TensorBoardLog,
    ValidationMonitor,
    max_validation_examples,
    with_averaged_weights,
)
from keras_pixelcnnpp.training.checkpoints import Checkpoints, TrainingStopped
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.training.train import train, training_batches
from keras_pixelcnnpp.utils import backend
from keras_pixelcnnpp.utils.checks import conversion, require_choice
from keras_pixelcnnpp.utils.distribution import (
    all_devices,
    is_first_process,
    leaving_lost_processes,
    num_devices,
    num_processes,
    wait_for_all,
)
from keras_pixelcnnpp.utils.errors import (
    UserError,
    is_disk_full,
    one_line,
    say,
)
from keras_pixelcnnpp.utils.files import atomic_path, counted


@dataclass(frozen=True)
class Start:
    """The folder that a training writes to, and how it starts."""

    run: RunFolder
    resume: bool = False
    overwrite: bool = False
    callbacks: Sequence[keras.callbacks.Callback] = ()
    verbose: int | str = "auto"


def run_train(options: TrainOptions, given: PixelCNNRecipe) -> None:
    """Runs `pixelcnnpp train`."""
    with on_devices(options) as options:
        _run_train(options, given)


def _run_train(options: TrainOptions, given: PixelCNNRecipe) -> None:
    if given.network is not None:
        require_choice("network", given.network, NETWORKS)
    start, given, begun = _start(options, given)
    source = _source_apart(given.data, start.run)
    origin, preset = "run", PixelCNNRecipe()
    if not begun or options.preset is not None:  # otherwise the run has all values
        origin, preset = load_preset(options.preset, source, given.network)
    if given.codes and not preset.codes:
        preset = preset.without_order()
    dataset = load_training_data(given.over(preset))
    of_data = dataset.num_classes, source.has_files, dataset.conditions.needs_values
    recipe = given.for_data(preset, *of_data)
    flipped = "" if recipe.horizontal_flip else "not "
    levels, epochs = recipe.num_levels or 256, counted(recipe.epochs, "epoch")
    _require_levels(dataset, levels)
    what = f"{levels} codes" if recipe.codes else f"{levels} levels"
    say(f"Recipe of the {origin}: {epochs}, {what}, images {flipped}flipped")
    dataset, recipe = load_larger(given, recipe, dataset)
    _run(train_pixelcnnpp, dataset, recipe, start)


def run_train_baseline(options: RunOptions, given: BaselineRecipe) -> None:
    """Runs `pixelcnnpp train-baseline`."""
    with on_devices(options) as options:
        _run_train_baseline(options, given)


def _run_train_baseline(options: RunOptions, given: BaselineRecipe) -> None:
    start, given, _ = _start(options, given)
    source, dataset = _source_apart(given.data, start.run), load_training_data(given)
    margin = 4 if source.has_files else 0
    usual = BaselineRecipe(horizontal_flip=source.may_be_mirrored, crop_margin=margin)
    dataset, recipe = load_larger(given, given.over(usual).with_defaults(), dataset)
    _run(train_baseline, dataset, recipe, start)


def _require_levels(dataset: Dataset, num_levels: int) -> None:
    """Raises a `UserError` unless images of 16 bits have values below the number of levels."""
    for name, split in dataset.splits.items():
        largest = split.images.max(initial=0)
        if split.images.dtype == "uint16" and largest >= num_levels:
            raise UserError(
                f"The split {name} has values up to {largest:,}. Expected levels from 0 to "
                f"{num_levels - 1:,}, for --num-levels {num_levels}. {conversion(num_levels)}"
            )


def _run(train: Callable, dataset: Dataset, recipe: Recipe, start: Start) -> None:
    with start.run.locked(), stoppable(start.run.checkpoints(recipe.section)):
        train(dataset, recipe, start)
    run = shlex.quote(str(start.run.path))
    wrote = f"Wrote {start.run.model(recipe.section)}"
    say(f"{wrote}. To measure it: pixelcnnpp evaluate all --run {run}")


@contextmanager
def on_devices(options: Any) -> Iterator[Any]:
    """Context manager in which a model is trained on the devices that the options choose.

    It yields the options of this process. All processes do the same, so that none waits for
    another, but only the first writes to the run: each of the others works on a temporary copy,
    and prints only errors.
    """
    if not options.distribute:
        yield options
        return
    with all_devices(), leaving_lost_processes():
        if is_first_process():
            wait_for_all()  # the run changes when the others have copied it
            yield options
            wait_for_all()  # the last files are written
            return
        with TemporaryDirectory(prefix="pixelcnnpp-") as folder, redirect_stdout(io.StringIO()):
            copy = Path(folder, "run")
            if options.run.is_dir():
                shutil.copytree(options.run, copy, ignore=shutil.ignore_patterns(".*"))
            wait_for_all()
            yield replace(options, run=copy)
            wait_for_all()


def _start(options: RunOptions, given: Recipe) -> tuple[Start, Any, bool]:
    """Returns how to start, the options with those of a run to resume, and whether it has begun."""
    if options.resume and options.overwrite:
        raise UserError("--resume and --overwrite exclude each other. Expected only one of them")
    run = RunFolder(options.run)
    config = run.read_config() if options.resume else {}
    if config:
        given = given.over(recipe_of_run(config, given.section))
    # A progress bar on a terminal, but one line per epoch in a file or a pipe.
    verbose = 1 if sys.stdout.isatty() else 2
    how = options.resume, options.overwrite, options.context.obj or ()
    start = Start(run, *how, verbose=verbose)
    return start, given, given.section in config


def _source_apart(data: str | None, run: RunFolder) -> DataSource:
    """Returns the source of the images, which must not contain the run, or lie in it."""
    if data is None:
        raise UserError("Missing option --data. Expected a data set, a file or a folder")
    source = source_of(data)
    if source.path is None:
        return source
    # A run writes files that could be taken for data, and removes files of its folder.
    images, folder = source.path.resolve(), run.path.resolve()
    if folder.is_relative_to(images) or images.is_relative_to(folder):
        raise UserError(
            "Invalid value for option `run`. Expected a folder outside the data, and data outside "
            f"the run. Received: run={folder}, data={images}"
        )
    return source


def train_pixelcnnpp(dataset: Dataset, recipe: PixelCNNRecipe, start: Start) -> AutoregressiveModel:
    """Trains a PixelCNN++, Gated PixelCNN or PixelCNN, and writes it to the run folder."""
    keras.utils.set_random_seed(recipe.seed)
    # Unconditional models use all images, labeled or not.
    has_labels = recipe.conditioning != "none" and dataset.num_classes > 0
    images = _training_images(dataset, recipe, has_labels and not recipe.unlabeled_weight)
    with backend.precision(recipe.precision):
        model = _make_model(dataset, recipe)
    goes_on = start.resume and start.run.has_checkpoint("pixelcnnpp")
    if recipe.initial_weights and not goes_on:
        copy_initial_weights(recipe.initial_weights, model)
    validation = dataset.images("validation", with_labels=has_labels)
    _begin(model, dataset, images, recipe, start)
    _train_into(model, dataset, images, validation, recipe, start)
    return model


def train_baseline(dataset: Dataset, recipe: BaselineRecipe, start: Start) -> BaselineCNN:
    """Trains the baseline CNN, and writes it to the run folder."""
    if dataset.num_classes < 2:
        raise UserError(f"The CNN needs at least two classes. Received: {dataset.num_classes}")
    keras.utils.set_random_seed(recipe.seed)
    images = _training_images(dataset, recipe, with_labels=True)
    validation = dataset.images("validation", with_labels=True)
    with backend.precision(recipe.precision):
        shape, flip = dataset.image_shape, recipe.horizontal_flip
        model = BaselineCNN(shape, dataset.num_classes, horizontal_flip=flip)
    model.allow_dark_images = True  # the notes on the data say so
    _begin(model, dataset, images, recipe, start)
    _train_into(model, dataset, images, validation, recipe, start)
    return model


def _training_images(dataset: Dataset, recipe: Recipe, with_labels: bool) -> LabeledImages:
    choice = {"max_examples": recipe.max_examples, "seed": recipe.seed}
    return dataset.images("train", with_labels=with_labels, **choice)


def _make_model(dataset: Dataset, recipe: PixelCNNRecipe) -> AutoregressiveModel:
    require_choice("network", recipe.network, NETWORKS)
    conditions = [] if recipe.conditioning == "none" else _conditions(dataset, recipe)
    options: dict[str, Any] = {"conditions": conditions, "ordered_levels": not recipe.codes}
    options |= recipe.model_arguments()
    try:
        return NETWORKS[recipe.network](image_shape=dataset.image_shape, **options)
    except ValueError as error:  # such as one of the user's own strategy
        raise UserError(one_line(error)) from error


def _conditions(dataset: Dataset, recipe: PixelCNNRecipe) -> list[Part]:
    """Returns the conditions of the data, with the scales and bounds of vectors in a recipe."""
    parts, components = [*dataset.conditions], recipe.components()
    if not components:
        return parts
    names, scales, bounds = zip(*components, strict=True)
    low, high = zip(*bounds, strict=True) if all(bounds) else (None, None)
    vectors = Vectors(len(names), low, high, names, scales)
    return [vectors if part.kind == vectors.kind else part for part in parts]


def _begin(
    model: keras.Model, dataset: Dataset, images: LabeledImages, recipe: Recipe, start: Start
) -> None:
    """Claims the run folder, and prints a summary of the training."""
    title = model.title
    available = len(dataset.split("train"))
    section = {
        "title": title,
        "format": FORMAT,
        "options": {**_arguments(model, recipe), **recipe.options()},
        "model": model.get_config(),
        "parameters": model.count_params(),
        "versions": backend.versions(),
        "images": [len(images), available],
        "command": command_line(),
        "callbacks": [type(callback).__name__ for callback in start.callbacks],
    }
    config = {"data": data_section(recipe, dataset), recipe.section: section}
    how = {"resume": start.resume, "overwrite": start.overwrite}
    claim(start.run, recipe.section, config, dataset.listing(), **how)
    say(f"{title}, {model.count_params():,} weights: {backend.describe(model)}{_devices()}")
    if len(images) < available:
        print(f"Training on {len(images):,} of the {available:,} training images")


def _devices() -> str:
    """Returns the end of the summary of a training that several devices share."""
    devices, processes = num_devices(), num_processes()
    of_processes = f" of {processes} processes" if processes > 1 else ""
    return f", {devices} devices{of_processes}" if devices > 1 else ""


def _arguments(model: keras.Model, recipe: Recipe) -> dict[str, Any]:
    """Returns the arguments of a model that a recipe has, also those that are its defaults."""
    found = {name: model.arguments().get(name) for name in recipe.names("of_model")}
    return {n: [*v] if isinstance(v, tuple) else v for n, v in found.items() if v is not None}


def _train_into(
    model: keras.Model,
    dataset: Dataset,
    images: LabeledImages,
    validation: LabeledImages,
    recipe: Recipe,
    start: Start,
) -> None:
    """Trains a model with logs and checkpoints, and saves it to the run folder."""
    run, section = start.run, recipe.section
    is_network = isinstance(model, AutoregressiveModel)
    scored = len(model.conditions.all_classes) if is_network else 1
    count = max_validation_examples(recipe.max_validation_examples, len(images), scored)
    monitor = ValidationMonitor(validation, count, recipe.batch_size)
    if start.verbose:
        print(monitor)
    facts = {"model": section, "data": dataset.name, "parameters": model.count_params()}
    facts |= {name: v for name, v in recipe.options().items() if name not in MONITORING}
    sample_every = getattr(recipe, "sample_every", 0)
    batches = training_batches(model, images, recipe)
    board = TensorBoardLog(run.logs(section), monitor, facts, batches, sample_every)
    callbacks = [monitor, *start.callbacks, HistoryFile(run.history_json(section)), board]
    train(
        model,
        images,
        recipe,
        run.checkpoints(section),
        callbacks=with_averaged_weights(callbacks),
        verbose=start.verbose,
    )
    with atomic_path(run.model(section)) as temporary:
        model.save(temporary)


@contextmanager
def stoppable(checkpoints: Path) -> Iterator[None]:
    """Says how to continue if a signal (with the status that shells expect) or a disk stops it."""
    try:
        yield
    except TrainingStopped as stopped:
        print()
        say(
            f"Stopped. The last step is saved in {checkpoints}. "
            "To continue, repeat the command with --resume, and without --overwrite."
        )
        raise typer.Exit(128 + stopped.signal) from None
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise UserError(
            f"{one_line(error)}. {Checkpoints(checkpoints).advice()} Free some space, and repeat "
            "the command with --resume, and without --overwrite."
        ) from error
