"""A run's configuration for TensorBoard: as hyperparameters and as text."""

from collections.abc import Iterable
from pathlib import Path

WATCHING = ("sample_every", "histogram_every", "frechet_every")
"""Options that change what is seen of a training, not the training."""


def hyperparameters(section: str, config: dict, data: dict) -> dict[str, bool | float | str]:
    """What tells runs apart, as booleans, numbers and strings.

    Args:
        section: `"pixelcnnpp"` or `"baseline"`.
        config: That section of `config.json`.
        data: The section `data` of `config.json`.

    Returns:
        The section as `model`, the name of the data as `data`, `parameters`, and the options by
        name, without those that are `None`.

    Example:

    >>> hyperparameters("baseline", {"options": {"filters": [20, 40]}, "parameters": 7},
    ...                 {"source": "digits"})
    {'model': 'baseline', 'data': 'digits', 'parameters': 7, 'filters': '20,40'}
    """
    options = {
        name: value
        for name, value in config["options"].items()
        if value is not None and name not in WATCHING
    }
    values = {
        "model": section,
        "data": Path(data["source"]).name,
        "parameters": config["parameters"],
        **options,
    }
    return {name: _plain(value) for name, value in values.items()}


def configuration_text(config: dict, data: dict) -> str:
    """The configuration in Markdown: tables of the options, the data and the versions.

    Args:
        config: A section of `config.json`.
        data: The section `data` of `config.json`.
    """
    parts = {
        "Options": {**config["options"], "parameters": f"{config['parameters']:,}"},
        "Data": data,
        "Versions": config["versions"],
    }
    return "\n\n".join(f"### {title}\n\n{_table(part.items())}" for title, part in parts.items())


def _plain(value) -> bool | float | str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _table(rows: Iterable[tuple]) -> str:
    lines = [f"| {name} | {_code(value)} |" for name, value in rows]
    return "\n".join(["| name | value |", "|---|---|", *lines])


def _code(value) -> str:
    text = "–" if value is None else str(_plain(value))
    return f"`{text}`" if text else ""
