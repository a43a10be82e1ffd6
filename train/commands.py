"""The commands `pixelcnnpp train`, `pixelcnnpp train-baseline` and `pixelcnnpp data`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Context

from keras_pixelcnnpp.commands.helpers import Commands, library, with_options
from keras_pixelcnnpp.recipes import recipe as recipes
from keras_pixelcnnpp.recipes.existing import existing_data, existing_preset
from keras_pixelcnnpp.recipes.recipe import BaselineRecipe, PixelCNNRecipe, Reading, option

app = Commands()


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of both commands that are not part of a recipe, and their context in typer."""

    context: Context  # its `obj` are the callbacks of `pixelcnnpp.main`
    run: Path = option("Run folder, such as runs/digits.", ...)
    resume: bool = option("Continue from the last checkpoint, with the options of the run.", False)
    overwrite: bool = option("Replace the run in the folder, including its reports.", False)
    distribute: bool = option(
        "Divide each batch between all devices (TensorFlow, JAX) and processes (JAX).", False
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """Options of `train` that are not part of a recipe."""

    preset: str | None = option(
        "Preset with the defaults: a name from `pixelcnnpp presets`, a folder or hf://USER/NAME. "
        "Default: the recipe of --network, else the preset of the data (digits, mnist, "
        "fashion_mnist), else photographs.",
        callback=existing_preset,
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions(Reading):
    """Options of `data`."""

    data: Annotated[
        str,
        Argument(
            metavar="SOURCE",
            help="A data set, in any form that train --data takes.",
            callback=existing_data,
        ),
    ]
    output: Path = option("New folder to write the image files to.", ...)
    count: int | None = option("Number of images of each split. Default: all.", min=1)


def _of_photographs() -> dict:
    """Returns the recipe of the preset that `train` uses for most data, for the help text."""
    folder = Path(recipes.__file__).parents[1] / "presets" / "photographs"
    files = [folder / name for name in ("config.json", "metadata.json")]
    config, facts = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return {**PixelCNNRecipe.DEFAULTS, **config["config"], **facts["training"]}


@app.command(
    "train",
    "train --data digits --run runs/digits",
    "train --data photographs --run runs/mine --epochs 20",
    "train --data photographs --run runs/mine --epochs 20 --resume",
)
@with_options(TrainOptions, PixelCNNRecipe, defaults=_of_photographs())
def train(options: TrainOptions, recipe: PixelCNNRecipe) -> None:
    """Train a PixelCNN++, Gated PixelCNN or PixelCNN, and write it to a run folder.

    Options that are not given take their value from the preset. The defaults below are those of the
    preset photographs.
    """
    with library():
        from keras_pixelcnnpp.train.run_training import run_train
    run_train(options, recipe)


@app.command("train-baseline", "train-baseline --data digits --run runs/digits")
@with_options(RunOptions, BaselineRecipe)
def train_baseline(options: RunOptions, recipe: BaselineRecipe) -> None:
    """Train a baseline CNN, a classifier to compare the PixelCNN++ with.

    Use the same data and the same run folder for both.

    By default, training images are randomly flipped, except those of digits and mnist, and image
    files that are large enough are randomly cropped. Gradients are not clipped.
    """
    with library():
        from keras_pixelcnnpp.train.run_training import run_train_baseline
    run_train_baseline(options, recipe)


@app.command("data", "data digits --output images")
@with_options(DataOptions)
def data(options: DataOptions) -> None:
    """Write the images of a data set as PNG files, in a folder for each split and class.

    The files are named like images/train/3/00012.png, and train --data images reads them.
    """
    with library():
        from keras_pixelcnnpp.train.data import write_images
    write_images(options)
