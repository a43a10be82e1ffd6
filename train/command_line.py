"""Commands whose options are the fields of a dataclass: `Annotated[type, option(...), mark]`.

A mark says what an option is for. `typer` makes the command from the signature that `taking`
gives it, and prints the help, in panels.
"""

import copy
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from enum import Enum
from typing import Annotated, get_args

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from keras_pixelcnnpp.errors import UserError

PANELS = ("Data", "Network", "Label", "Schedule", "Watching", "Devices", "Run")
DATA, NETWORK, LABEL, SCHEDULE, WATCHED, DEVICES, RUN = PANELS


@dataclass(frozen=True)
class Model:
    """Marks an argument of the model; `shown` is the default in the help, where it is `None`."""

    shown: str = "preset"


@dataclass(frozen=True)
class Training(Model):
    """Marks a training option. What has no mark is the command's own business."""

    fallback: object = None  # where neither user nor preset gives a value
    may_change: bool = False  # when a run is resumed
    watching: bool = False  # changes nothing that is trained; may change too


def option(panel: str, text: str, *flags: str, **how) -> OptionInfo:
    """What typer has to know of an option."""
    return typer.Option(*flags, help=text, rich_help_panel=panel, **how)


def marked(declaration: type, kind: type) -> dict[str, Model]:
    """The marks by name of the option."""
    marks = {field.name: _metadata(field, kind) for field in fields(declaration)}
    return {name: mark for name, mark in marks.items() if mark}


def overrides(options) -> dict:
    """The marked options by name; `None`: as the preset has it."""
    chosen = {name: _plain(getattr(options, name)) for name in marked(type(options), Model)}
    for name, value in chosen.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(
                f"Invalid value for option `{name}`. Expected a finite number. Received: {value}"
            )
    return chosen


def training_defaults(declaration: type) -> dict:
    """The training options by name, where neither user nor preset gives one."""
    # A dataclass keeps the default of a field as an attribute of the class.
    own = {name: getattr(declaration, name) for name in marked(declaration, Training)}
    return {
        name: mark.fallback if own[name] is None else _plain(own[name])
        for name, mark in marked(declaration, Training).items()
    }


def may_change(declaration: type) -> tuple[str, ...]:
    """The training options that may differ when a run is resumed."""
    marks = marked(declaration, Training).items()
    return tuple(name for name, mark in marks if mark.may_change or mark.watching)


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _metadata(field: Field, kind: type) -> object | None:
    return next((mark for mark in field.type.__metadata__ if isinstance(mark, kind)), None)


def taking(declaration: type) -> Callable:
    """A decorator: the command has the options of a dataclass, and is called with one."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def command(**values):
            return function(declaration(**values))

        options = sorted(map(_parameter, fields(declaration)), key=_place)
        command.__signature__ = inspect.Signature(options)
        command.__annotations__ = {option.name: option.annotation for option in options}
        return command

    return decorate


def _parameter(field: Field) -> inspect.Parameter:
    """What typer makes an option of."""
    info, mark = copy.copy(_metadata(field, OptionInfo)), _metadata(field, Model)
    kind = field.type.__origin__
    if mark and field.default is None:
        info.show_default = mark.shown
    if info.min is not None:
        # Of the width that typer's own word, <float range>, takes, names are in need.
        info.metavar = "<int>" if int in (kind, *get_args(kind)) else "<float>"
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.default is MISSING else field.default,
        annotation=Annotated[kind, info],
    )


def _place(option: inspect.Parameter) -> int:
    (info,) = option.annotation.__metadata__
    return PANELS.index(info.rich_help_panel)


class WholeNames(TyperCommand):
    """A command whose help cuts no name of an option on 80 columns."""

    def format_help(self, ctx: typer.Context, formatter) -> None:
        """Called by typer, which gives `--flag` and `--no-flag` a column each: here they share."""
        shown = copy.copy(self)
        shown.params = [_in_one_column(parameter) for parameter in self.params]
        super(WholeNames, shown).format_help(ctx, formatter)


def _in_one_column(parameter):
    shown = copy.copy(parameter)
    shown.opts, shown.secondary_opts = [" / ".join(parameter.opts + parameter.secondary_opts)], []
    return shown
