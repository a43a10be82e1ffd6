"""Runs the training commands: loads the data, trains, and prints the next command."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import counted
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.baseline import train_baseline
from keras_pixelcnnpp.train.checkpoints import TrainingStopped
from keras_pixelcnnpp.train.data import is_folder, load_larger, load_preset, load_training_data
from keras_pixelcnnpp.train.devices import Devices, on_devices, own_folder
from keras_pixelcnnpp.train.loop import Start
from keras_pixelcnnpp.train.options import (
    NOT_MIRRORED,
    BaselineOptions,
    Options,
    PixelCNNOptions,
    as_begun,
    baseline_training,
    overrides,
    resolve_options,
)
from keras_pixelcnnpp.train.pixelcnnpp import train_pixelcnnpp
from keras_pixelcnnpp.train.plugins import import_plugins, make_callbacks


def train_model(options: PixelCNNOptions) -> None:
    """Runs `pixelcnnpp train`."""
    with on_devices(options.devices) as devices, own_folder(options.run, devices) as folder:
        _train_model(options, RunFolder(folder), devices)


def _train_model(options: PixelCNNOptions, run: RunFolder, devices: Devices | None) -> None:
    config = run.read_config() if options.resume else {}
    options = as_begun(options, config, "pixelcnnpp") if config else options
    start = _start(options, devices)
    if "pixelcnnpp" in config and options.preset is None:
        preset = {"model": {}, "training": {}}  # the run has all options
    else:
        preset = load_preset(options.preset, options.data, options.network)
    dataset, data_config = load_training_data(options)
    model_options, training = resolve_options(
        preset, overrides(options), dataset.num_classes, is_folder(options.data)
    )
    if devices and not devices.may_jit_compile:
        training["jit_compile"] = False
    flipped = "" if training["horizontal_flip"] else "not "
    epochs = counted(training["epochs"], "epoch")
    recipe = f"preset {preset['name']}" if "name" in preset else "run"
    levels = model_options.get("num_levels", 256)
    print(f"Recipe of the {recipe}: {epochs}, {levels} levels, images {flipped}flipped")
    larger = load_larger(options, dataset, training)
    with run.locked(), stoppable(run.checkpoints("pixelcnnpp")):
        train_pixelcnnpp(dataset, run, model_options, training, data_config, start, larger)
    unconditional = model_options.get("conditioning") == "none"
    following = "generation" if unconditional else "classification"
    print(f"Wrote {run.model_keras}. Next: {_next(following, options)}")


def train_cnn(options: BaselineOptions) -> None:
    """Runs `pixelcnnpp train-baseline`."""
    folder = RunFolder(options.run)
    if options.resume:
        options = as_begun(options, folder.read_config(), "baseline")
    start = _start(options)
    training = baseline_training(options)
    dataset, data_config = load_training_data(options)
    if training["horizontal_flip"] is None:
        training["horizontal_flip"] = Path(options.data).stem not in NOT_MIRRORED
    if training["crop_margin"] is None:
        training["crop_margin"] = 4 if is_folder(options.data) else 0
    larger = load_larger(options, dataset, training)
    with folder.locked(), stoppable(folder.checkpoints("baseline")):
        train_baseline(dataset, folder, training, data_config, start, larger)
    print(f"Wrote {folder.baseline_keras}. Next: {_next('classification', options)}")


def _next(subject: str, options: Options) -> str:
    plugins = [word for name in options.plugin or () for word in ("--plugin", name)]
    return shlex.join(["pixelcnnpp", *plugins, "evaluate", subject, "--run", str(options.run)])


def _start(options: Options, devices: Devices | None = None) -> Start:
    """Returns how to start, after importing the user's plugins and callbacks."""
    if options.resume and options.overwrite:
        raise UserError("--resume and --overwrite exclude each other. Expected only one of them")
    import_plugins(options.plugin)
    callbacks = make_callbacks(options.callback)
    # A progress bar on a terminal, but one line per epoch in a file or a pipe.
    verbose = 1 if sys.stdout.isatty() else 2
    imported = {"plugin": options.plugin or (), "callback": options.callback or ()}
    return Start(callbacks, devices, options.resume, options.overwrite, verbose, imported)


@contextmanager
def stoppable(checkpoints: Path) -> Iterator[None]:
    """Exits with the status that shells expect if a signal stops the training."""
    try:
        yield
    except TrainingStopped as stopped:
        print(
            f"\nStopped. The last step is saved in {checkpoints}. "
            "To continue, repeat the command with --resume, and without --overwrite."
        )
        raise typer.Exit(128 + stopped.signal) from None
