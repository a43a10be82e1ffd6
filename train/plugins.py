"""Code of others: `--plugin module` and `--callback module:object`, `--log wandb` and `mlflow`."""

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import keras

from keras_pixelcnnpp.errors import UserError


def import_plugins(names: Iterable[str] | None) -> None:
    """Imports modules for what they do at their import, such as adding to `STRATEGIES`."""
    for name in names or ():
        _module("plugin", name)


def make_callbacks(names: Iterable[str] | None) -> list[keras.callbacks.Callback]:
    """The Keras callbacks that `module:object` names, or that the object returns when called."""
    return [_callback(name) for name in names or ()]


def _callback(name: str) -> keras.callbacks.Callback:
    module_name, _, path = name.partition(":")
    found = _module("callback", module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            raise UserError(
                "Invalid value for option `callback`. Expected module:object. "
                f"Received: {name}, but there is no {attribute!r} in {module_name}"
            )
        found = getattr(found, attribute)
    given = isinstance(found, keras.callbacks.Callback)
    made = found() if not given and _takes_nothing(found) else found
    if not isinstance(made, keras.callbacks.Callback):
        raise UserError(
            "Invalid value for option `callback`. Expected a Keras callback, or what returns one "
            f"when called without arguments. Received: {name}, which gives {made!r:.80}"
        )
    return made


def _takes_nothing(found: object) -> bool:
    try:
        inspect.signature(found).bind()
    except TypeError:  # of what can't be called too
        return False
    except ValueError:  # what is built in may have no signature
        return True
    return True


def _module(option: str, name: str) -> ModuleType:
    # The console command doesn't look in the working directory. Last, so that a file there hides
    # no installed module.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except (ModuleNotFoundError, ValueError, TypeError) as error:
        # Of an import inside the module the traceback says more.
        missing = getattr(error, "name", None)
        if missing and name != missing and not name.startswith(f"{missing}."):
            raise
        raise UserError(
            f"Invalid value for option `{option}`. Expected a module that can be imported. "
            f"Received: {name!r}"
        ) from error


def require_loggers(names: Iterable[str] | None) -> None:
    """Raises a `UserError` unless the libraries of `--log` are installed."""
    for name in names or ():
        # Both keep runs in a folder of their own name, which could be imported as a module is: so
        # what is inside.
        needed = f"{name}.keras" if name == "mlflow" else f"{name}.integration.keras"
        try:
            importlib.import_module(needed)
        except ModuleNotFoundError as error:
            # The callback of wandb takes TensorFlow, under any backend.
            missing = "tensorflow" if error.name == "tensorflow" else name
            raise UserError(
                f"Option `log` {name}: {missing} is not installed: "
                f"pip install 'keras-pixelcnnpp[{missing}]'"
            ) from error


@contextmanager
def loggers(
    names: Iterable[str] | None, folder: Path, title: str, options: dict
) -> Iterator[list[keras.callbacks.Callback]]:
    """The callbacks of `--log`, each of a run that ends with the context, failed by an exception.

    `options` are shown with the run. What is kept on this machine is in `folder`.
    """
    with ExitStack() as runs:
        yield [
            runs.enter_context(_LOGGERS[name](folder.absolute(), title, options))
            for name in names or ()
        ]


@contextmanager
def _wandb(folder, title, options):
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    try:
        run = wandb.init(dir=folder, name=title, config=options)
    except wandb.Error as error:  # such as: not logged in
        raise UserError(f"wandb: {' '.join(str(error).split())}") from error
    with run:
        yield WandbMetricsLogger()


@contextmanager
def _mlflow(folder, title, options):
    import mlflow

    experiment, is_local = None, not mlflow.is_tracking_uri_set()
    if is_local:
        # What MLflow would put into the working directory.
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        known = mlflow.get_experiment_by_name(title)
        experiment = (
            known.experiment_id
            if known
            else mlflow.create_experiment(title, (folder / "mlflow").as_uri())
        )
    try:
        with mlflow.start_run(experiment_id=experiment, run_name=title):
            mlflow.log_params(options)
            yield mlflow.keras.MlflowCallback()
    finally:
        if is_local:
            mlflow.set_tracking_uri(None)


_LOGGERS = {"wandb": _wandb, "mlflow": _mlflow}
