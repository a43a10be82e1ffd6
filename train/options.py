"""Options and steps that the training commands share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keras_pixelcnnpp.datasets.dataset import Dataset
    from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
    from keras_pixelcnnpp.training.data_parallel import DataParallel


class Precision(StrEnum):
    """Keras's dtype policies."""

    float32 = "float32"
    mixed_bfloat16 = "mixed_bfloat16"
    mixed_float16 = "mixed_float16"


class Schedule(StrEnum):
    """How the learning rate falls."""

    exponential = "exponential"
    cosine = "cosine"


Data = Annotated[
    str,
    typer.Option(
        help="digits, cifar10, a folder with train.csv, a folder of class folders, or an .npz."
    ),
]
Run = Annotated[Path, typer.Option(help="The run folder, such as runs/digits.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training pictures.")]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Where defaults come from: digits, report, cifar10, cpen455, or a folder. "
        "Default: digits for digits, else report."
    ),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Pictures per step.")]
LearningRate = Annotated[float | None, typer.Option(min=0, help="Adam's, at the beginning.")]
EmaMomentum = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Momentum of the moving average of the weights, to which it rises; 0: none.",
    ),
]
GradientClipNorm = Annotated[
    float | None,
    typer.Option(
        min=0, help="A longer gradient is scaled down to this norm; 0, the default: never."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")]
ImageSize = Annotated[
    int | None, typer.Option(min=1, help="Resize pictures to this height and width.")
]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="Of the computations.")]
JitCompile = Annotated[
    bool | None,
    typer.Option(help="Compile with XLA. Default: what suits backend and device."),
]
HorizontalFlip = Annotated[bool | None, typer.Option(help="Mirror half of the training pictures.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Train on the first pictures only, for a trial.")
]
Devices = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Devices of this machine that share every batch (TensorFlow, JAX). Default: one.",
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT of each process that shares every batch, with commas between; the same "
        "command runs on each, with its own --worker. JAX only. All must see the run folder; the "
        "first writes it. Default: the environment variable TF_CONFIG, else none."
    ),
]
Worker = Annotated[
    int | None, typer.Option(min=0, help="This process's place in --workers, from 0.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start over in a folder that holds a run.")
]


def load(source: str, image_size: int | None, seed: int) -> tuple["Dataset", dict]:
    """Reads the data, says what it is, and returns it with the section `data` of `config.json`."""
    from keras_pixelcnnpp.datasets.load import load_dataset

    dataset = load_dataset(source, image_size=image_size, seed=seed)
    for note in dataset.notes:
        print(note)
    counts = ", ".join(f"{len(split)} {name}" for name, split in dataset.splits.items())
    shape = "×".join(str(size) for size in dataset.image_shape)
    print(f"{dataset.name}: {counts} pictures of {shape}, {dataset.num_classes} classes")
    config = {
        # Absolute, so that the evaluation finds it from another working directory.
        "source": str(Path(source).resolve()) if Path(source).exists() else source,
        "seed": seed,
        "fingerprint": dataset.fingerprint(),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "num_levels": dataset.num_levels,
        "counts": dataset.counts(),
    }
    return dataset, config


def load_preset(name: str | None, data: str) -> dict:
    """The configuration of a preset; without a name, of the one that suits the data."""
    from keras_pixelcnnpp.presets import load_preset_config

    return load_preset_config(name or ("digits" if data == "digits" else "report"))


def load_larger(source: str, dataset: "Dataset", margin: int, seed: int) -> "LabelledImages | None":
    """The split `train` with pictures `margin` pixels higher and wider; `None` for no margin."""
    from keras_pixelcnnpp.datasets.load import load_dataset
    from keras_pixelcnnpp.errors import UserError

    if not margin:
        return None
    if not Path(source).is_dir():
        raise UserError(
            "Invalid value for option `crop_margin`. Only picture files can be read at a larger "
            f"size, from a folder. Received: crop_margin={margin}, data={source}"
        )
    height, width, channels = dataset.image_shape
    size = (height + margin, width + margin)
    return load_dataset(source, image_size=size, channels=channels, seed=seed).split("train")


def per_resolution(option: str, text: str | None) -> int | list[int] | None:
    """`"40"` gives 40, `"24,48,96"` a number for each resolution."""
    from keras_pixelcnnpp.errors import UserError

    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"Invalid value for option `{option}`. Expected a positive integer, or one for each "
            f"resolution with commas between. Received: {text!r}"
        ) from None
    return numbers if len(numbers) > 1 else numbers[0]


def data_parallel(
    devices: int | None, workers: str | None, worker: int | None
) -> "DataParallel | None":
    """The devices that share the work; `None` for one. Connects this process with other workers."""
    from keras_pixelcnnpp.training.cluster import Cluster
    from keras_pixelcnnpp.training.data_parallel import DataParallel

    cluster = Cluster.find(workers, worker)
    if cluster is not None:
        cluster.join()
    if cluster is None and devices in (None, 1):
        return None
    return DataParallel(devices, cluster)


def verbosity() -> int:
    """Keras's `verbose`: a progress bar on a terminal, one line per epoch in a file or a pipe."""
    return 1 if sys.stdout.isatty() else 2


@contextmanager
def stoppable(run: Path, section: str) -> Iterator[None]:
    """Ends the command in good order when a signal stopped the training of `section`."""
    from keras_pixelcnnpp.callbacks.stop_on_signal import TrainingStopped
    from keras_pixelcnnpp.run_folder import RunFolder

    try:
        yield
    except TrainingStopped:
        folder = RunFolder(run).checkpoints(section)
        print(
            f"\nStopped. A checkpoint of the last step is in {folder}: "
            "the same command with --resume goes on from there."
        )
        raise typer.Exit(0) from None
