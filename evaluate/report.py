"""`evaluate report`: collects the results of a run, for the page `templates/report.html.j2`."""

import base64
import functools
import io
import shlex
import statistics
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image, UnidentifiedImageError

from keras_pixelcnnpp import __version__
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.errors import UserError, as_user_error
from keras_pixelcnnpp.evaluate.classification import model_titles, train_baseline_command
from keras_pixelcnnpp.evaluate.commands import RunOptions
from keras_pixelcnnpp.evaluate.figures import history_png
from keras_pixelcnnpp.files import read_json, safe_names, write_bytes
from keras_pixelcnnpp.recipe import (
    COMMANDS,
    RECIPES,
    PixelCNNRecipe,
    code_of_run,
    recipe_of_run,
    words_of,
)
from keras_pixelcnnpp.run import RunFolder

NONE = "–"
REPORTS = ("likelihood", "classification", "generation", "evidence", "ood")


def evaluate_report(run: RunFolder, options: RunOptions | None = None) -> None:
    """Writes the results of a run as one page, and prints the commands for missing results."""
    config = run.read_config()
    # Files that the commands did not write may have any structure.
    files = f"config.json, history.json or a report in {run.path}"
    with as_user_error(f"{files} is damaged or was written by another version"):
        facts = _facts(run, config)
        page = _template().render(facts)
    path = run.reports / "index.html"
    write_bytes(path, f"{page.strip()}\n".encode())
    for command, titles in facts["missing"].items():
        print(f"Not measured yet: {', '.join(titles)}. {command}")
    print(f"Wrote {path}")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        # Class names come from the user's folders.
        autoescape=True,
        # Missing values are shown as dashes.
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    return environment.get_template("report.html.j2")


def _facts(run: RunFolder, config: dict) -> dict:
    """Returns the variables of the template."""
    names, reports = model_titles(config), _reports(run.reports)
    histories = {title: rows for name, title in names.items() if (rows := run.history(name))}
    class_names = config["data"]["class_names"]

    def by_title(models: dict) -> dict:
        return {title: models[name] for name, title in names.items() if name in (models or {})}

    model = config.get("pixelcnnpp", {})

    def command(*words: str) -> str:
        code = code_of_run(config, "pixelcnnpp") if words[0] == "evaluate" else {}
        plugins = words_of({"plugin": code.get("plugin")})
        if words[0] == "evaluate" and run.other_data and "--data" not in words:
            words += ("--data", str(run.other_data))
        return shlex.join(["pixelcnnpp", *plugins, *words, "--run", str(run.path)])

    # Results on other data are in subfolders.
    folders = [path for path in run.reports.glob("[!.]*/") if any(path.glob("*.json"))]
    others = {path.name: (_reports(path), _images(path)) for path in sorted(folders)}
    unit = bits_unit(model.get("model", {}).get("num_levels", 256))
    training = {
        "pixelcnnpp": command(
            "train", *recipe_of_run({"data": config["data"]}, "pixelcnnpp").words()
        ),
        "baseline": train_baseline_command(run),
    }
    return {
        **reports,
        "by_title": by_title,
        "class_files": list(zip(class_names, safe_names(class_names), strict=True)),
        "command": command,
        "config": config,
        "curves": _curves(histories, unit),
        "image": lambda name: _image(run.reports / f"{name}.png"),
        "name": run.path.resolve().name,
        "options": _option_rows(by_title(config).values()),
        "names": names,
        "others": others,
        "num_classes": model.get("model", {}).get("num_classes", len(class_names)),
        "reproduction": {
            "Train, with every option": _training_commands(config, command),
            "Measure": [
                *_evaluation_commands(reports, command),
                *(c for other, _ in others.values() for c in _evaluation_commands(other, command)),
                command("evaluate", "report"),
            ],
        },
        "summaries": {title: _summary(rows) for title, rows in histories.items()},
        "training": training,
        "unit": unit,
        "version": __version__,
        # The template adds the titles of missing sections by command.
        "missing": {
            training[name]: [title]
            for name, title in names.items()
            if name not in config and (len(class_names) > 1 or name == "pixelcnnpp")
        },
    }


def _reports(folder: Path) -> dict[str, dict]:
    """Reads all reports in a folder by name; a missing report is empty."""
    files = {name: folder / f"{name}.json" for name in REPORTS}
    return {name: read_json(file) if file.is_file() else {} for name, file in files.items()}


def _images(folder: Path) -> dict[str, dict]:
    return {path.stem.replace("_", " "): _image(path) for path in sorted(folder.glob("*.png"))}


def _image(path: Path) -> dict | None:
    try:
        return _image_of(path.read_bytes()) if path.is_file() else None
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is damaged: not an image") from error


def _image_of(png: bytes) -> dict:
    """Returns a PNG file as a data URI, with its size in pixels."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        width, height = image.size
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    return {"uri": uri, "width": width, "height": height}


def _curves(histories: dict[str, list[dict]], unit: str) -> dict[str, dict]:
    labels = {"bits_per_dim": unit, "accuracy": "accuracy", "cross_entropy": "cross-entropy (nats)"}
    curves = {label: history_png(histories, quantity, label) for quantity, label in labels.items()}
    return {label: _image_of(png) for label, png in curves.items() if png}


def _summary(rows: list[dict]) -> dict:
    """Returns the logs of the last epoch, and the time of all epochs in seconds."""
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    if not seconds:
        return rows[-1]
    return {**rows[-1], "total": sum(seconds), "per_epoch": statistics.median(seconds)}


def _option_rows(sections: Iterable[dict]) -> dict[str, list]:
    """Returns a row for each option and version, with one value per model."""
    options, versions = [], []
    for section in sections:
        options.append({"parameters": whole(section.get("parameters")), **section["options"]})
        found = section.get("versions", {}).items()
        alone = ("backend", "machine")
        versions.append({n if n in alone else f"version of {n}": value for n, value in found})
    return {
        name.replace("_", " "): [column.get(name) for column in columns]
        for columns in (options, versions)
        for name in dict.fromkeys(chain(*columns))
    }


def _training_commands(config: dict, command: Callable) -> list[str]:
    commands = []
    for model in (name for name in RECIPES if name in config):
        backend = config[model].get("versions", {}).get("backend")
        prefix = f"KERAS_BACKEND={shlex.quote(str(backend))} " if backend else ""
        commands.append(prefix + command(*training_words(config, model)))
    return commands


def _evaluation_commands(reports: dict[str, dict], command: Callable) -> list[str]:
    given = {name: reports[name].get("options", {}) for name in REPORTS if reports[name]}
    return [command("evaluate", name, *words_of(options)) for name, options in given.items()]


def training_words(config: dict, model: str) -> list[str]:
    """Returns the arguments that train a run's model again, without `--run`."""
    recipe, words = recipe_of_run(config, model), [COMMANDS[model]]
    if model == "pixelcnnpp":
        # The model's defaults are included, since they may change and presets may differ.
        arguments = config[model].get("model", {})
        known = PixelCNNRecipe.names("of_model")
        recipe = recipe.over(PixelCNNRecipe.of({n: arguments.get(n) for n in known}))
        if recipe.network in (None, "pixelcnnpp"):
            # This preset does not set options that have no value here; the data's preset might.
            words += ["--preset", "course_report"]
    return [*words, *recipe.words(), *words_of(code_of_run(config, model))]


# Filters of the template. Values that are not numbers become a dash.


def pick(numbers: dict | None, keys: Iterable[str]) -> list:
    """Returns the values of some keys; missing ones are `None`."""
    return [(numbers or {}).get(key) for key in keys]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def decimal(value: Any, digits: int = 3) -> str:
    """Formats a number as `0.123`."""
    return f"{value:.{digits}f}".replace("-", "−") if _is_number(value) else NONE


def percent(share: Any, digits: int = 1) -> str:
    """Formats a fraction as `12.3 %`."""
    return f"{100 * share:.{digits}f} %" if _is_number(share) else NONE


def percent_interval(bounds: Any) -> str:
    """Formats two fractions as `95.3–99.1 %`."""
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f} %" if bounds else NONE


def points(share: float) -> str:
    """Formats a difference of fractions in percentage points, as `+0.8`."""
    return f"{100 * share:+.1f}".replace("-", "−")


def whole(value: Any) -> str:
    """Formats a number as `1,234`."""
    return f"{value:,.0f}" if _is_number(value) else NONE


def option(value: Any) -> str:
    """Formats the value of an option in `config.json`."""
    if isinstance(value, list):
        return ", ".join(map(option, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else str(value)


def duration(seconds: Any) -> str:
    """Formats a time in seconds as `48 s`, `12 min` or `3.4 h`."""
    if not _is_number(seconds):
        return NONE
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


FILTERS = (decimal, duration, option, percent, percent_interval, pick, points, whole)
