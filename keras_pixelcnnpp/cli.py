"""The commands of `pixelcnnpp`, which pixelcnnpp.py starts."""

import logging
import os
import re
import sys
import warnings
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.app.commands import launch
from keras_pixelcnnpp.backend import keep_freed_memory
from keras_pixelcnnpp.errors import UserError, is_disk_full, is_out_of_memory
from keras_pixelcnnpp.evaluate.commands import app as evaluate
from keras_pixelcnnpp.files import example
from keras_pixelcnnpp.presets import Preset, preset_names
from keras_pixelcnnpp.savedmodel.commands import app as savedmodel
from keras_pixelcnnpp.savedmodel.commands import classify_trained, sample_trained
from keras_pixelcnnpp.train.commands import app as train
from keras_pixelcnnpp.train.plugins import import_plugins

NO_MEMORY = (
    "out of memory. Use fewer images at a time; in training, a smaller --batch-size, fewer "
    "--num-candidates, fewer --filters or --precision mixed_bfloat16 help."
)

app = typer.Typer(
    rich_markup_mode=None,  # in its frames, long names of options would be cut
    no_args_is_help=True,
    add_completion=False,
    context_settings={"max_content_width": 100},
    pretty_exceptions_enable=False,
)
app.add_typer(train, name="train")
app.add_typer(evaluate, name="evaluate")
app.add_typer(savedmodel, name="savedmodel")
app.command(
    "sample", epilog=example("sample --run runs/digits --label 3 --count 25 --output threes.png")
)(sample_trained)
app.command(
    "classify",
    epilog=example("classify --preset fashion_mnist image.png --csv predictions.csv"),
)(classify_trained)
app.command("app", epilog=example("app --run runs/digits --open"))(launch)


@app.callback(
    epilog="""\b
Examples:
  pixelcnnpp sample --preset fashion_mnist
  pixelcnnpp train pixelcnnpp --data digits --run runs/digits
  pixelcnnpp evaluate classification --run runs/digits"""
)
def prepare(
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            help="A module to import first, for a model that was trained with it; may be repeated."
        ),
    ] = None,
) -> None:
    """Train conditional PixelCNN++ models, and generate, classify and score images with them."""
    if plugin:
        import_plugins(plugin)


@app.command()
def presets() -> None:
    """List the presets, with accuracy and bits/dim of trained ones.

    Options of pixelcnnpp train pixelcnnpp override the values of a preset.
    """
    table = Table(box=SIMPLE_HEAD)
    table.add_column("preset", no_wrap=True)
    for heading in ("what it is", "accuracy", "bits/dim", "split"):
        table.add_column(heading)
    for name in preset_names():
        facts = Preset(name).metadata
        row = [name, facts["description"]]
        if "metrics" in facts:
            numbers = facts["metrics"]
            row += [f"{numbers['accuracy']:.1%}", f"{numbers['bits_per_dim']:.3f}", facts["split"]]
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    """Runs a command. Bad input, or too much of it, ends it with one line and exit status 2."""
    prepare_process()
    try:
        app()
    except Exception as error:
        print(f"pixelcnnpp: error: {_message(error)}", file=sys.stderr)
        sys.exit(2)


def _message(error):
    if isinstance(error, UserError | OSError):
        return error
    # TensorFlow has one class of error for a full disk and for memory.
    if is_disk_full(error):
        return "no space left on the disk. What was there before is kept."
    if is_out_of_memory(error):
        return NO_MEMORY
    raise error


def prepare_process() -> None:
    """Settings that a command makes, but importing the package doesn't."""
    keep_freed_memory()
    # TensorFlow and JAX would claim a GPU's whole memory at once, whether they need it or not.
    # They read this when they first compute.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    logging.getLogger("tensorflow").addFilter(_is_other_advice)
    # matplotlib shows boxes for the letters of a class name that its font lacks.
    warnings.filterwarnings("ignore", message="Glyph .* missing from")


def _is_other_advice(record):
    # TensorFlow counts Keras's step of training and that of validation as one function, and
    # advises against tracing it for the fifth time.
    advice = r"TensorFlowTrainer\..* triggered tf\.function retracing"
    return re.search(advice, record.getMessage()) is None
