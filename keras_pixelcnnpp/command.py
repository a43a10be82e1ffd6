"""Common parts of the commands. This file and the files `commands.py` don't import Keras."""

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

# Messages that TensorFlow's libraries log before they read TF_CPP_MIN_LOG_LEVEL.
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
    """A group of commands with examples at the end of their help."""

    def __init__(self, **options: Any):
        # Without rich markup, whose frames truncate long names of options.
        super().__init__(no_args_is_help=True, rich_markup_mode=None, **options)

    def command(self, name: str | None = None, *examples: str, **options: Any) -> Callable:
        """Decorator that registers a function as a command, by default under its own name."""
        return super().command(name, epilog=epilog(*examples), **options)


def epilog(*examples: str) -> str:
    """Returns the end of a command's help, with examples."""
    lines = [f"  pixelcnnpp {example}" for example in examples]
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *lines])


def output(text: str, folder: bool = False) -> Any:
    """Creates an option for an output path, which is checked before the work begins."""
    kinds: dict[str, Any] = {"file_okay": not folder, "dir_okay": folder}
    return typer.Option(help=text, callback=in_a_folder, **kinds)


def in_a_folder(path: Path | None) -> Path | None:
    """Checks that the parent of a path exists. It isn't created, because of possible typos."""
    if path is not None and not (folder := path.absolute().parent).is_dir():
        raise UserError(f"There is no folder {folder} to write {path.name} to. Create it first")
    return path


@contextmanager
def library() -> Iterator[None]:
    """Context manager in which a command imports the library, which takes seconds.

    Raises:
        UserError: If a package or Keras's backend is not installed.
    """
    package = sys.modules[__package__]
    try:
        with _without_greeting():
            if not hasattr(package, "__version__"):  # the package's `__init__.py` has not run
                package.__spec__.loader.exec_module(package)
            yield
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError)
        advice = ". Missing: pip install 'keras-pixelcnnpp[commands]'" if is_missing else ""
        raise UserError(f"{error}{advice}") from error
    prepare_process()


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Context manager that removes TensorFlow's first log messages from stderr."""
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
    """Applies settings of the process for commands, which importing the package must not apply."""
    from keras_pixelcnnpp.backend import keep_freed_memory

    keep_freed_memory()
    # Otherwise TensorFlow and JAX allocate almost all memory of a GPU at once.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    logging.getLogger("tensorflow").addFilter(_is_other_advice)
    # matplotlib draws boxes for characters of class names that its font does not have.
    warnings.filterwarnings("ignore", message="Glyph .* missing from")


def _is_other_advice(record: logging.LogRecord) -> bool:
    # TensorFlow counts Keras's training step and validation step as one function, and warns when
    # they are traced for the fifth time.
    advice = r"TensorFlowTrainer\..* triggered tf\.function retracing"
    return re.search(advice, record.getMessage()) is None
