"""What the commands have in common. Nothing here, nor in a file `commands.py`, imports Keras."""

import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_pixelcnnpp.errors import UserError

# What TensorFlow's libraries log while they are loaded, before they read TF_CPP_MIN_LOG_LEVEL.
_GREETING = re.compile(
    rb"I\d{4} \d\d:\d\d:\d|WARNING: All log messages before absl::InitializeLog\(\)"
)

Temperature = Annotated[
    float, typer.Option(help="Above 0. Below 1, images are more typical and less diverse.")
]
Guidance = Annotated[
    float,
    typer.Option(help="Above 0, images are more typical of their class and less diverse."),
]


class Commands(typer.Typer):
    """A group of commands, each of which shows examples at the end of its help."""

    def __init__(self, **options: Any):
        # In the frames of rich's markup, long names of options would be cut.
        super().__init__(no_args_is_help=True, rich_markup_mode=None, **options)

    def command(self, name: str | None = None, *examples: str, **options: Any) -> Callable:
        """A decorator: the function is the command `name`, by default of its own name."""
        return super().command(name, epilog=epilog(*examples), **options)


def epilog(*examples: str) -> str:
    """The end of a command's help."""
    lines = [f"  pixelcnnpp {example}" for example in examples]
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *lines])


def output(text: str, folder: bool = False) -> Any:
    """An option of where to write: what is no such place is refused before the work, not after."""
    kinds: dict[str, Any] = {"file_okay": not folder, "dir_okay": folder}
    return typer.Option(help=text, callback=in_a_folder, **kinds)


def in_a_folder(path: Path | None) -> Path | None:
    """The path, if its parent is there: it isn't made, since its name may be mistyped."""
    if path is not None and not (folder := path.absolute().parent).is_dir():
        raise UserError(f"There is no folder {folder} to write {path.name} to: make it first")
    return path


@contextmanager
def library() -> Iterator[None]:
    """Within, a command imports what it needs of the library, which takes seconds.

    Raises:
        UserError: If a package is missing, or Keras's backend.
    """
    package = sys.modules[__package__]
    try:
        with _without_greeting():
            if not hasattr(package, "__version__"):  # `pixelcnnpp.py` has not run it
                package.__spec__.loader.exec_module(package)
            yield
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError)
        advice = ". Missing: pip install 'keras-pixelcnnpp[commands]'" if is_missing else ""
        raise UserError(f"{error}{advice}") from error
    prepare_process()


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Keeps back what is written to stderr, to write it later without TensorFlow's greeting."""
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            kept.seek(0)
            os.write(2, b"".join(line for line in kept if not _GREETING.match(line)))


def prepare_process() -> None:
    """Settings that a command makes, but importing the package doesn't."""
    from keras_pixelcnnpp.backend import keep_freed_memory

    keep_freed_memory()
    # TensorFlow and JAX would claim a GPU's whole memory at once, whether they need it or not.
    # They read this when they first compute.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    logging.getLogger("tensorflow").addFilter(_is_other_advice)
    # matplotlib shows boxes for the letters of a class name that its font lacks.
    warnings.filterwarnings("ignore", message="Glyph .* missing from")


def _is_other_advice(record: logging.LogRecord) -> bool:
    # TensorFlow counts Keras's step of training and that of validation as one function, and
    # advises against tracing it for the fifth time.
    advice = r"TensorFlowTrainer\..* triggered tf\.function retracing"
    return re.search(advice, record.getMessage()) is None
