"""Collects the results in a folder for the page `templates/report.html.j2`."""

import base64
import functools
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2

from keras_pixelcnnpp import __version__
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.evaluate.figures import history_png
from keras_pixelcnnpp.evaluate.measurements import MEASUREMENTS
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.recipes.recipe import COMMANDS
from keras_pixelcnnpp.utils.errors import as_user_error
from keras_pixelcnnpp.utils.files import read_json, write_bytes

NONE = "–"


def write_page(subject: Subject) -> None:
    """Writes the results on the subject's images as a page."""
    # Files that the commands did not write may have any structure.
    files = f"A file of {subject.name} or in {subject.folder}"
    with as_user_error(f"{files} is damaged or was written by another version"):
        results = _results(subject.folder)
        facts = _facts(subject)
        page = (
            _environment()
            .get_template("report.html.j2")
            .render(
                facts,
                notes=_notes(subject, results),
                outdated=_outdated(subject, results),
                parts=_parts(results, facts, subject.folder),
                commands=_commands(subject, results),
            )
        )
    # A name of a file need not be UTF-8.
    content = f"{page.strip()}\n".encode(errors="backslashreplace")
    write_bytes(subject.folder / "index.html", content)


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
        "histories": histories,
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


def _uri(png: bytes) -> str:
    """Returns a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _image(path: Path) -> str | None:
    return _uri(path.read_bytes()) if path.is_file() else None


def _curves(histories: dict[str, list[dict]], unit: str) -> dict[str, str]:
    labels = {"bits_per_dim": unit, "accuracy": "accuracy", "cross_entropy": "cross-entropy (nats)"}
    curves = {label: history_png(histories, quantity, label) for quantity, label in labels.items()}
    return {label: _uri(png) for label, png in curves.items() if png}


def _notes(subject: Subject, results: dict[str, dict]) -> list[str]:
    """Returns the messages on the images, of the training and of the results."""
    notes = chain(*(result.get("notes", ()) for result in results.values()))
    return [*dict.fromkeys(chain(subject.config["data"].get("notes", ()), notes))]


def _outdated(subject: Subject, results: dict[str, dict]) -> dict[str, str]:
    """Returns the commands of the results of other weights than the models have, by name."""
    commands, now = {}, subject.weights
    for name, result in results.items():
        with as_user_error(f"{subject.folder / name}.json"):
            if any(now.get(model) != one for model, one in result["weights"].items()):
                commands[name] = result["command"]
    return commands


def _commands(subject: Subject, results: dict[str, dict]) -> list[str]:
    """Returns the commands that trained the models and measured the results, as they were given."""
    trained = [subject.config[name] for name in COMMANDS if name in subject.config]
    given = []
    for facts in (*trained, *results.values()):
        given += [facts["command"]] if "command" in facts else []
        given += facts.get("resumed", [])
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


def points(share: float) -> str:
    """Formats a difference of fractions in percentage points, as `+0.8`."""
    return f"{100 * share:+.1f}".replace("-", "−")


def whole(value: Any) -> str:
    """Formats a number as `1,234`."""
    return f"{value:,.0f}" if _is_number(value) else NONE


FILTERS = (decimal, percent, pick, points, whole)
