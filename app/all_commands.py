"""The command-line interface `pixelcnnpp`: all commands and their error messages."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_pixelcnnpp.app.commands import app as of_app
from keras_pixelcnnpp.commands import helpers
from keras_pixelcnnpp.commands.helpers import Commands, epilog
from keras_pixelcnnpp.commands.model_commands import app as of_models
from keras_pixelcnnpp.evaluate.commands import app as evaluate
from keras_pixelcnnpp.savedmodel.commands import app as of_savedmodel
from keras_pixelcnnpp.train.commands import app as of_train
from keras_pixelcnnpp.utils.errors import UserError, is_disk_full, is_out_of_memory, say

NO_MEMORY = (
    "out of memory. Use fewer images at a time; in training, a smaller --batch-size, fewer "
    "--num-candidates, fewer --filters or --precision mixed_bfloat16 help."
)

app = Commands(
    add_completion=False,
    context_settings={"max_content_width": 100},
    pretty_exceptions_enable=False,
)


@app.callback(
    epilog=epilog(
        "sample --preset fashion_mnist",
        "train --data digits --run runs/digits",
        "evaluate classification --run runs/digits",
    )
)
def prepare() -> None:
    """Train conditional PixelCNN++ models, and generate, classify and score images with them."""


@app.command()
def presets() -> None:
    """List the presets, with accuracy and bits/dim of trained ones.

    Options of pixelcnnpp train override the values of a preset.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("preset", "what it is", "accuracy", "bits/dim", "split"):
        table.add_column(heading, no_wrap=heading != "what it is", overflow="fold")
    for path in sorted(Path(helpers.__file__).parents[1].glob("presets/*/metadata.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        row = [path.parent.name, facts["description"]]
        if "sha256" in facts and not path.with_name("model.weights.h5").is_file():
            row[1] += "; weights: in the repository"
        if "metrics" in facts:
            config = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
            numbers, uniform = facts["metrics"], math.log2(config["config"]["num_levels"])
            bits = f"{numbers['bits_per_dim']:.3f} of {uniform:.3g}"
            row += [f"{numbers['accuracy']:.1%}", bits, facts["split"]]
        table.add_row(*row)
    Console().print(table)


for group in (of_models, of_savedmodel, of_app, of_train):
    app.add_typer(group)
app.add_typer(evaluate, name="evaluate")


def main(callbacks: Sequence[Any] = ()) -> None:
    """Runs a command. Bad input or a lack of memory ends it with one line and exit status 2.

    `callbacks` are further Keras callbacks for a command that trains.
    """
    try:
        app(prog_name="pixelcnnpp", obj=callbacks)
    except Exception as error:
        if isinstance(error, UserError | OSError):
            message = str(error)
        # Checked first, because TensorFlow uses the same class of errors for disk and memory.
        elif is_disk_full(error):
            message = "no space left on the disk. Existing files are kept."
        elif is_out_of_memory(error):
            message = NO_MEMORY
        else:
            raise
        say(f"pixelcnnpp: error: {message}", error=True)
        sys.exit(2)
