"""Imports the user's code that `--plugin module` and `--callback module:object` name."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from keras_pixelcnnpp.utils.errors import UserError

# Names of the plugins that this process has imported, for its worker processes.
imported_plugins: list[str] = []


def import_plugins(names: Iterable[str] | None, folder: Path | None = None) -> None:
    """Imports modules for their side effects, such as an addition to `STRATEGIES`.

    They may be in `folder`, by default the working directory.
    """
    for name in names or ():
        _search(folder or Path.cwd())
        try:
            importlib.import_module(name)
        except (ImportError, ValueError, TypeError) as error:
            raise UserError(
                "Invalid value for option `plugin`. Expected a module that can be imported. "
                f"Received: {name!r} ({error})"
            ) from error
        imported_plugins.append(name)


def make_callbacks(names: Iterable[str] | None, **arguments: Any) -> list[keras.callbacks.Callback]:
    """Returns the Keras callbacks named `module:object`; a function is called to create one.

    It is called with those of the keyword arguments that its signature names.
    """
    return [_callback(name, arguments) for name in names or ()]


def _callback(name: str, arguments: dict[str, Any]) -> keras.callbacks.Callback:
    _search(Path.cwd())
    try:
        found = pkgutil.resolve_name(name)
        if isinstance(found, keras.callbacks.Callback):
            return found
        wanted = arguments.keys() & inspect.signature(found).parameters.keys()
        made = found(**{argument: arguments[argument] for argument in wanted})
        if not isinstance(made, keras.callbacks.Callback):
            raise TypeError(f"it returns {made!r:.80}")
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            "Invalid value for option `callback`. Expected module:object, a Keras callback or a "
            "function that returns one, whose arguments may be `run` and `recipe`. "
            f"Received: {name!r} ({error})"
        ) from error
    return made


def _search(folder: Path) -> None:
    # The console command does not search the working directory. It is appended, so that files in it
    # do not hide installed modules.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
