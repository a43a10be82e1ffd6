"""Helpers that all commands share. Neither this file nor any `commands.py` imports Keras."""

import functools
import inspect
import logging
import os
import re
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from keras_pixelcnnpp.recipes.recipe import option
from keras_pixelcnnpp.utils.errors import UserError, say

# Lines that TensorFlow's libraries log on import, before they read TF_CPP_MIN_LOG_LEVEL.
_GREETING = re.compile(
    rb"I\d{4} \d\d:\d\d:\d|WARNING: All log messages before absl::InitializeLog\(\)"
)


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """Options of all commands that sample: arguments of `AutoregressiveModel.sample`."""

    temperature: float = option(
        "Sampling temperature; lower values give more typical images.", 1.0, min=1e-6, max=1e6
    )
    guidance: float = option(
        "Guidance strength; higher values give images closer to the class.", 0.0, min=0
    )

    def of_sampler(self) -> dict[str, Any]:
        """Returns the values of these options by name, also those of a subclass's object."""
        return {one.name: getattr(self, one.name) for one in fields(SamplingFlags)}


@dataclass(frozen=True, kw_only=True)
class OverwriteOptions:
    """Options of the commands that write a file at once: those declared by `output_path`."""

    advice: ClassVar = "Add --overwrite to replace it, or choose another file"

    overwrite: bool = option("Replace existing files.", False)

    @property
    def may_replace(self) -> bool:
        """Whether the command may replace files that exist."""
        return self.overwrite

    def require_new(self, paths: Iterable[Path]) -> None:
        """Raises a `UserError` if a file exists that the command must not replace."""
        for path in paths:
            if path.exists() and not self.may_replace:
                raise UserError(f"{path} exists. {self.advice}")


class Commands(typer.Typer):
    """A group of commands whose help texts end with examples."""

    def __init__(self, **options: Any):
        # The framed help of rich truncates long option names.
        super().__init__(no_args_is_help=True, rich_markup_mode=None, **options)

    def command(self, name: str | None = None, *examples: str, **options: Any) -> Callable:
        """Returns a decorator that registers a function as a command with examples in its help."""
        return super().command(name, epilog=epilog(*examples), **options)


def with_options(*declarations: type, defaults: dict[str, Any] | None = None) -> Callable:
    """Returns a decorator that gives a command the fields of dataclasses as its options.

    The command gets an object of each dataclass. Their fields are declared with `option`, or
    annotated as in the documentation of typer. The help shows `defaults`, which are by default the
    `DEFAULTS` of a recipe. An output that is one of the files that the command reads is an error,
    and so is one that exists, unless the command may replace it.
    """
    names = {one: [field.name for field in fields(one)] for one in declarations}

    def decorate(function: Callable) -> Callable:
        def call(**values: Any) -> None:
            given = [one(**{name: values[name] for name in names[one]}) for one in names]
            require_no_input(_paths_written(given), _paths_read(given))
            for options in given:
                if isinstance(options, OverwriteOptions):
                    options.require_new(_paths_written([options]))
            function(*given)

        parameters = [
            _parameter(field, defaults or getattr(one, "DEFAULTS", {}))
            for one in declarations
            for field in fields(one)
        ]
        command: Any = functools.wraps(function)(call)
        command.__signature__ = inspect.Signature(parameters)
        return command

    return decorate


def _parameter(one: Field, defaults: dict[str, Any]) -> inspect.Parameter:
    annotation = one.type
    if one.metadata:
        # An option that is off by default has no form --no-….
        names = [f"--{one.name.replace('_', '-')}"] if one.default is False else []
        given = one.metadata.items()
        declared = {name: value for name, value in given if not name.startswith("of_")}
        if (value := defaults.get(one.name)) is not None and "Default" not in declared["help"]:
            shown = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
            shown = ",".join(map(str, value)) if isinstance(value, list) else shown
            declared["help"] += f" Default: {shown.removesuffix('.0')}."
        annotation = Annotated[one.type, typer.Option(*names, **declared)]
    default = inspect.Parameter.empty if one.default is MISSING else one.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(one.name, kind, default=default, annotation=annotation)


def paths_read(options: Any) -> list[Path]:
    """Returns the files and folders that a command reads, from an object of its options.

    These are the paths of all options that are not declared as outputs, also of one that is new.
    """
    return _paths_read([options])


def _paths_read(given: list[Any]) -> list[Path]:
    return [path for path, endings in _paths(given) if not endings]


def _paths_written(given: list[Any]) -> list[Path]:
    """Returns the files that a command replaces. A folder that exists is filled, not replaced."""
    return [
        Path(f"{path}{ending}")
        for path, endings in _paths(given)
        for ending in endings
        if ending or not path.is_dir()
    ]


def _paths(given: list[Any]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yields the paths of all options, with the endings of what is written there."""
    for options in given:
        for one in fields(options):
            value = getattr(options, one.name)
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path):
                    yield path, one.metadata.get("of_output", ())


def require_no_input(outputs: Iterable[Path], inputs: Sequence[Path]) -> None:
    """Raises a `UserError` if an output is a file that the command reads, by any of its names."""
    for output in filter(Path.is_file, outputs):
        if any(path.exists() and output.samefile(path) for path in inputs):
            expected = "Choose another file to write to"
            raise UserError(f"{output} is an input of this command. {expected}")


def command_line() -> str:
    """Returns the command of this process as it was given, without the folder of the program."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def epilog(*examples: str) -> str | None:
    """Formats the examples at the end of a command's help; `None` without examples."""
    if not examples:
        return None
    lines = [f"  pixelcnnpp {example}" for example in examples]
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *lines])


def output_path(
    text: str,
    default: Any = None,
    folder: bool = False,
    suffix: str | tuple[str, ...] = "",
    beside: tuple[str, ...] = (),
) -> Any:
    """Declares an option for an output path, which is checked before the command does its work.

    `beside` are the endings of further files that the command writes: with `".json"`, it also
    writes `a.csv.json` next to `a.csv`. None of them may be a file that the command reads (see
    `paths_read`) or that exists (see `OverwriteOptions`).
    """
    kinds = {"file_okay": not folder, "dir_okay": folder}

    def checked(path: Path | None) -> Path | None:
        if path is not None and not path.name.lower().endswith(suffix):
            kinds_of_file = " or ".join([suffix] if isinstance(suffix, str) else suffix)
            expected = f"Expected a {kinds_of_file} file"
            raise UserError(f"Invalid value for --output. {expected}. Received: {path}")
        return in_a_folder(path)

    return option(text, default, callback=checked, of_output=("", *beside), **kinds)


def in_a_folder(path: Path | None) -> Path | None:
    """Returns `path` if its parent folder can be written to.

    The folder is not created: it may be a typo.
    """
    if path is None:
        return path
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UserError(f"Cannot write {path.name}: the folder {folder} does not exist")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        why = f"the folder {folder}: {error.strerror}"
        raise UserError(f"Cannot write {path.name}: {why}") from error
    return path


def only_local_names(host: str) -> list:
    """Returns the middleware of a Starlette application that listens on `host`.

    If only this machine can reach the server, requests must name it as a local host, because a page
    in a browser could send others under the name of a foreign host.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    local = ("localhost", "127.0.0.1", "::1", "[::1]")
    hosts = local if host in local else ("*",)
    return [Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)]


@contextmanager
def library() -> Iterator[None]:
    """Context in which a command imports modules of the library, which takes seconds.

    Raises a `UserError` if a package or Keras's backend is not installed.
    """
    package = sys.modules["keras_pixelcnnpp"]
    try:
        with _without_greeting():
            if not hasattr(package, "__version__"):  # registered but not run, see `pixelcnnpp.py`
                package.__spec__.loader.exec_module(package)
            yield
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError)
        advice = ". Try: pip install 'keras-pixelcnnpp[commands]'" if is_missing else ""
        raise UserError(f"{error}{advice}") from error
    prepare_process()


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Holds back stderr, and writes it afterwards without TensorFlow's log lines."""
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


@contextmanager
def writing(*outputs: Path | None) -> Iterator[None]:
    """Imports the library, and locks the runs in whose folders a command writes."""
    with library():
        from keras_pixelcnnpp.training.run import locked_around
    with locked_around(*outputs):
        yield


def prepare_process() -> None:
    """Changes settings of the process that importing the package leaves alone."""
    from keras_pixelcnnpp.utils.memory import keep_freed_memory

    keep_freed_memory()
    # By default, TensorFlow and JAX reserve all GPU memory. They read these variables when they
    # first compute.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    logging.getLogger("tensorflow").addFilter(_is_other_advice)
    # matplotlib warns about letters of class names that its font lacks, and shows boxes instead.
    warnings.filterwarnings("ignore", message="Glyph .* missing from")
    warnings.showwarning = lambda message, *_, **__: _print_warning(str(message))


@functools.cache  # Python's filter "once" forgets texts whenever a library changes a filter
def _print_warning(text: str) -> None:
    say(f"pixelcnnpp: warning: {text}", error=True)


def _is_other_advice(record: logging.LogRecord) -> bool:
    # TensorFlow counts Keras's training step and validation step as one function, and warns when
    # they have been traced five times together.
    advice = r"TensorFlowTrainer\..* triggered tf\.function retracing"
    return re.search(advice, record.getMessage()) is None
