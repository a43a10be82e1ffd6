"""The command `pixelcnnpp`.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from keras_pixelcnnpp import ImportHook
from keras_pixelcnnpp.app.commands import play
from keras_pixelcnnpp.errors import UserError, is_disk_full, is_no_retracing, is_out_of_memory
from keras_pixelcnnpp.evaluate.commands import app as evaluate
from keras_pixelcnnpp.memory import keep_freed_memory_unless_told
from keras_pixelcnnpp.savedmodel.commands import app as savedmodel
from keras_pixelcnnpp.savedmodel.commands import classify_trained, sample_trained
from keras_pixelcnnpp.train.commands import app as train

BACKENDS = ("tensorflow", "jax", "torch")


MEMORY_ADVICE = (
    "Use a smaller --batch-size; in training, fewer --candidates, fewer --filters or "
    "--precision mixed_bfloat16 help too."
)


app = typer.Typer(
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def prepare(
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            help="A module to import before the command, for a model that was trained with it. "
            "May be repeated."
        ),
    ] = None,
) -> None:
    """Conditional PixelCNN++: generates, classifies and scores pictures."""
    if plugin:
        from keras_pixelcnnpp.train.plugins import import_plugins

        import_plugins(plugin)


app.add_typer(train, name="train")


app.add_typer(evaluate, name="evaluate")


app.add_typer(savedmodel, name="savedmodel")


app.command("sample")(sample_trained)


app.command("classify")(classify_trained)


app.command("app")(play)


@app.command()
def presets() -> None:
    """List the presets, and what those with weights were measured at.

    Options of `pixelcnnpp train pixelcnnpp` override what a preset says.
    """
    from rich.box import SIMPLE_HEAD

    from keras_pixelcnnpp.evaluate.figures import print_table
    from keras_pixelcnnpp.presets import PresetFolder, preset_names

    look = {"box": SIMPLE_HEAD, "padding": 0, "title_justify": "left"}
    folders = {name: PresetFolder.find(name) for name in preset_names()}
    headings = ("pictures", "classes", "levels", "filters", "mixtures", "label", "epochs")
    rows = [(name, *_architecture(folder.config())) for name, folder in folders.items()]
    print_table(("preset", *headings), rows, **look)
    headings = ("trained on", "epochs", "accuracy", "bits/dim", "measured on")
    trained = [(name, folder.metadata()) for name, folder in folders.items() if folder.has_weights]
    rows = [(name, *_measured(facts)) for name, facts in trained]
    print_table(("preset", *headings), rows, title="With weights", **look)


def _architecture(config: dict) -> Iterator[str]:
    values = {**config["model"], "epochs": config["training"].get("epochs")}
    yield "×".join(map(str, values["image_shape"]))
    for name in ("num_classes", "num_levels", "filters", "num_mixtures", "conditioning", "epochs"):
        value = values.get(name, "–")
        yield ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _measured(facts: dict) -> tuple[str, ...]:
    numbers = facts["metrics"]
    return (
        facts["data"],
        str(facts["epochs"]),
        f"{numbers['accuracy']:.1%}",
        f"{numbers['bits_per_dim']:.3f}",
        f"{facts['count']} of {facts['split']}",
    )


def main() -> None:
    """Runs a command. Bad input, or too much of it, ends it with one line and exit status 2."""
    # What goes wrong in TensorFlow's C++ code raises an exception as well, or ends the process with
    # a line that this level lets through. Its "errors" of another kind are that there is no GPU.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0":
        sys.meta_path.insert(0, ImportHook("tensorflow", _without_greetings))
    # matplotlib draws boxes for the letters of a class name that its font lacks.
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    # Said of any sixth model.
    logging.getLogger("tensorflow").addFilter(is_no_retracing)
    sys.meta_path.insert(0, ImportHook("keras_pixelcnnpp.backend", _without_tensor_float32))
    _prepare_memory()
    try:
        _check_backend()
        app()
    except ModuleNotFoundError as error:
        if error.name not in BACKENDS:
            raise
        print(
            f"pixelcnnpp: error: the backend {error.name} is not installed. Install this package "
            f"with its extra [{error.name}], or choose another backend: "
            f"KERAS_BACKEND={' or '.join(name for name in BACKENDS if name != error.name)}.",
            file=sys.stderr,
        )
        sys.exit(2)
    except (UserError, OSError) as error:
        print(f"pixelcnnpp: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("pixelcnnpp: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # First: TensorFlow has one class of error for both.
        if is_disk_full(error):
            print("pixelcnnpp: error: no space left on the disk.", file=sys.stderr)
            sys.exit(2)
        if not is_out_of_memory(error):
            raise
        print(f"pixelcnnpp: error: out of memory. {MEMORY_ADVICE}", file=sys.stderr)
        sys.exit(2)


# What C++ code logs, but what ends the process (F), and the line that introduces it.
_LOGGED = re.compile(rb"[IWE]\d{4} \d\d:|WARNING: All log messages before absl::InitializeLog")


@contextmanager
def _without_greetings() -> Iterator[None]:
    """Keeps from stderr what C++ code logs; anything else appears there at once."""
    # TF_CPP_MIN_LOG_LEVEL doesn't hold until TensorFlow is loaded. A process, not a thread, filters
    # what is logged till then: what kills this process, such as a processor without AVX, is seen.
    if not hasattr(os, "fork") or sys.stderr is None:
        yield
        return
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
            os.close(writing)
            with os.fdopen(reading, "rb") as lines:
                for line in lines:
                    if not _LOGGED.match(line):
                        os.write(2, line)
        finally:
            os._exit(0)
    stderr = os.dup(2)
    os.dup2(writing, 2)
    for descriptor in (reading, writing):
        os.close(descriptor)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.waitpid(child, 0)


@contextmanager
def _without_tensor_float32() -> Iterator[None]:
    yield
    from keras_pixelcnnpp.backend import set_tensor_float32

    # float32 is what it says; `train --precision tf32` changes it.
    set_tensor_float32(False)


def _check_backend() -> None:
    backend = os.environ.get("KERAS_BACKEND", BACKENDS[0])
    if backend not in BACKENDS:
        raise UserError(
            "Invalid value for the environment variable KERAS_BACKEND. Expected one of: "
            f"{', '.join(BACKENDS)}. Received: {backend}"
        )


def _prepare_memory() -> None:
    keep_freed_memory_unless_told()
    # TensorFlow and JAX would claim a GPU's whole memory at once, whether they need it or not.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


if __name__ == "__main__":
    main()
