"""Collects the results in a folder for the page `templates/report.html.j2`."""

import base64
import functools
import io
import statistics
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from keras_pixelcnnpp import __version__
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.evaluate.figures import history_png
from keras_pixelcnnpp.evaluate.measurements import MEASUREMENTS
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.recipes.recipe import COMMANDS
from keras_pixelcnnpp.utils.errors import as_user_error
from keras_pixelcnnpp.utils.files import read_json, write_bytes

NONE = "–"


def write_page(subject: Subject) -> list[str]:
    """Writes the results on the subject's images as a page.

    Returns a line for each outdated result, with the command that measures it.
    """
    # Files that the commands did not write may have any structure.
    files = f"A file of {subject.name} or in {subject.folder}"
    with as_user_error(f"{files} is damaged or was written by another version"):
        results = _results(subject.folder)
        outdated = _outdated(subject, results)
        facts = _facts(subject)
        page = (
            _environment()
            .get_template("report.html.j2")
            .render(
                facts,
                notes=_notes(subject, results),
                outdated=outdated,
                parts=_parts(results, facts, subject.folder),
                commands=_commands(subject, results),
            )
        )
    write_bytes(subject.folder / "index.html", f"{page.strip()}\n".encode())
    return [f"Outdated: {title}. To replace it: {command} …" for command, title in outdated.items()]


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        # Class names come from the user's folders.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    return environment


def _results(folder: Path) -> dict[str, dict]:
    """Reads the results in a folder, by the name of the measurement."""
    files = {one.name: folder / f"{one.name}.json" for one in MEASUREMENTS}
    return {name: read_json(file) for name, file in files.items() if file.is_file()}


def _outdated(subject: Subject, results: dict[str, dict]) -> dict[str, str]:
    """Returns the titles of results of other weights than the model has, by their command."""
    return {
        f"pixelcnnpp evaluate {one.name}": one.title
        for one in MEASUREMENTS
        if one.name in results and results[one.name].get("weights") != subject.weights(one)
    }


def _facts(subject: Subject) -> dict:
    """Returns the variables of the page that do not depend on the results."""
    config, titles = subject.config, subject.titles
    histories = {}
    if subject.run is not None:
        histories = {t: rows for n, t in titles.items() if (rows := subject.run.history(n))}

    def by_title(models: dict) -> dict:
        return {title: models[name] for name, title in titles.items() if name in models}

    model = config.get("pixelcnnpp", {})
    unit = bits_unit(model.get("model", {}).get("num_levels", 256))
    return {
        "by_title": by_title,
        "config": config,
        "curves": _curves(histories, unit),
        "images_of": {"data": subject.data, "split": subject.options.split},
        "main_title": titles["pixelcnnpp"],
        "name": subject.name,
        "options": _option_rows(by_title(config).values()),
        "summaries": {title: _summary(rows) for title, rows in histories.items()},
        "titles": titles,
        "trained": model.get("options", {}),
        "unit": unit,
        "version": __version__,
    }


def _parts(results: dict[str, dict], facts: dict, folder: Path) -> dict[str, Any]:
    """Renders the section of each result, a template's module with its `numbers`."""
    parts = {}
    for name, result in results.items():
        own = {"report": result, "image": lambda name: _image(folder / f"{name}.png")}
        with as_user_error(str(folder / f"{name}.json")):
            parts[name] = _environment().get_template(f"{name}.html.j2").make_module(facts | own)
    return parts


def _image(path: Path) -> dict | None:
    with as_user_error(f"{path} is damaged"):
        return _image_of(path.read_bytes()) if path.is_file() else None


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


def _notes(subject: Subject, results: dict[str, dict]) -> list[str]:
    """Returns the messages on the images, of the training and of the results."""
    notes = chain(*(result.get("notes", ()) for result in results.values()))
    return [*dict.fromkeys(chain(subject.config["data"].get("notes", ()), notes))]


def _commands(subject: Subject, results: dict[str, dict]) -> list[str]:
    """Returns the commands that trained the models and measured the results, as they were given."""
    trained = [subject.config[name] for name in COMMANDS if name in subject.config]
    given = [facts["command"] for facts in (*trained, *results.values()) if "command" in facts]
    return [*dict.fromkeys(given)]


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
    """Formats a fraction as `12.3%`."""
    return f"{100 * share:.{digits}f}%" if _is_number(share) else NONE


def percent_interval(bounds: Any) -> str:
    """Formats two fractions as `95.3–99.1%`."""
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}%" if bounds else NONE


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
