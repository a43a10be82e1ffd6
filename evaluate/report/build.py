"""From a run folder to the page that reports it: `evaluate report`."""

import jinja2

from keras_pixelcnnpp import __version__
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.report import measured, origin
from keras_pixelcnnpp.evaluate.report.facts import (
    RunFacts,
    decimal,
    find,
    is_number,
    percent,
    percent_interval,
    shape,
)
from keras_pixelcnnpp.evaluate.report.page import KeyNumber, Missing, Page, Section
from keras_pixelcnnpp.files import write_bytes
from keras_pixelcnnpp.run import RunFolder

PARTS = (
    measured.samples_section,
    measured.comparison_section,
    origin.training_section,
    origin.data_section,
    origin.model_section,
    measured.generation_section,
    measured.temperatures_section,
    measured.completions_section,
    measured.neighbours_section,
    measured.per_class_section,
    measured.confusion_section,
    measured.roc_section,
    measured.calibration_section,
    measured.selective_section,
    measured.partial_section,
    measured.evidence_section,
    measured.foreign_section,
    origin.reproduction_section,
)


def write_page(folder: RunFolder) -> None:
    """Writes all that is known of a run as one page."""
    page = build_page(folder)
    path = folder.reports / "index.html"
    write_bytes(path, _render(page).encode())
    for part in page.missing:
        print(f"Not measured yet: {', '.join(part.titles)}. {part.command}")
    print(f"Wrote {path}")


def build_page(run: RunFolder) -> Page:
    """Gathers all that a run folder has to tell; nothing is computed but the training curves.

    A `UserError` if there is no run, or one of its JSON files is damaged.
    """
    facts = RunFacts(run)
    try:
        return _page(facts)
    except UserError:
        raise
    # JSON can hold anything in any place; the parts rely on what the commands write.
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"config.json, history.json or a report in {run.path} is damaged, or of another "
            f"version: {reason:.200}"
        ) from error


def _render(page: Page) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        # Always: names of classes come from the user's folders.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(page=page, version=__version__)


def _page(facts: RunFacts) -> Page:
    parts = [part(facts) for part in PARTS]
    return Page(
        title=facts.run.path.resolve().name,
        subtitle=_subtitle(facts),
        key_numbers=tuple(_key_numbers(facts)),
        sections=tuple(part for part in parts if isinstance(part, Section)),
        missing=tuple(_missing(facts, parts)),
    )


def _missing(facts: RunFacts, parts: list[Section | Missing]) -> list[Missing]:
    """One entry for each command, however many sections it writes for."""
    titles = {}
    for model, title in facts.titles.items():
        if not facts.section(model):
            titles[facts.training_command(model)] = [title]
    for part in parts:
        if isinstance(part, Missing):
            titles.setdefault(part.command, []).extend(part.titles)
    return [Missing(tuple(found), command) for command, found in titles.items()]


def _subtitle(facts: RunFacts) -> str:
    data = facts.config["data"]
    return (
        f"{facts.titles['pixelcnnpp']} on pictures of {shape(data.get('image_shape'))}, "
        f"{len(facts.class_names)} classes"
    )


def _key_numbers(facts: RunFacts) -> list[KeyNumber]:
    classification, generation = facts.json("classification"), facts.json("generation")
    numbers = []
    for name, title in facts.titles.items():
        of_model = find(classification, "models", name)
        if is_number(find(of_model, "accuracy")):
            note = percent_interval(find(of_model, "accuracy_ci95"))
            numbers.append(KeyNumber(f"Accuracy, {title}", percent(of_model["accuracy"]), note))
    bits = find(classification, "models", "pixelcnnpp", "bits_per_dim")
    if is_number(bits):
        floor = decimal(classification.get("pixel_histogram_bits_per_dim"), 2)
        numbers.append(KeyNumber("Bits/dim", decimal(bits, 2), f"pixel histograms {floor}"))
    distance = find(generation, "metrics", "all", "frechet_distance")
    if is_number(distance):
        floor = decimal(find(generation, "metrics", "all", "floor", "frechet_distance"), 2)
        numbers.append(
            KeyNumber("Fréchet distance", decimal(distance, 2), f"real pictures {floor}")
        )
    return numbers
