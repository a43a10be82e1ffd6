"""What a command was given, for the report that it writes."""

from pathlib import Path

import typer


def given_options(context: typer.Context) -> dict:
    """The command's options but the run folder, as JSON holds them.

    Args:
        context: Of the command that runs.

    Returns:
        From an option's name to its value. What was not given has its default; what has none, and
        flags that were not set, are left out.
    """
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in context.params.items()
        if name != "run" and value is not None and value is not False
    }
