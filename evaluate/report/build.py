"""From a run folder to the page that reports it."""

import jinja2

from keras_pixelcnnpp import __version__
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.report import measured as comparison
from keras_pixelcnnpp.evaluate.report import measured as generated
from keras_pixelcnnpp.evaluate.report import measured as insight
from keras_pixelcnnpp.evaluate.report import origin
from keras_pixelcnnpp.evaluate.report.facts import (
    TITLES,
    RunFiles,
    decimal,
    find,
    is_number,
    percent,
    percent_interval,
    shape,
)
from keras_pixelcnnpp.evaluate.report.origin import reproduction_section
from keras_pixelcnnpp.evaluate.report.page import KeyNumber, Missing, Page, Section
from keras_pixelcnnpp.files import atomic_path
from keras_pixelcnnpp.run import RunFolder

PARTS = (
    generated.samples_section,
    comparison.comparison_section,
    origin.training_section,
    origin.data_section,
    origin.model_section,
    generated.generation_section,
    generated.temperatures_section,
    generated.completions_section,
    generated.neighbours_section,
    comparison.per_class_section,
    comparison.confusion_section,
    comparison.roc_section,
    comparison.calibration_section,
    comparison.selective_section,
    insight.evidence_section,
    insight.foreign_section,
    insight.receptive_field_section,
    reproduction_section,
)


def build_page(run: RunFolder) -> Page:
    """Gathers all that a run folder has to tell.

    Nothing is computed but the training curves: it takes a second, whatever the model.

    Args:
        run: The run folder.

    Returns:
        The page, for a template.

    Raises:
        UserError: if there is no run, or one of its JSON files is damaged.

    Example:

    ```python
    page = build_page(RunFolder("runs/digits"))
    [section.title for section in page.sections]
    ```
    """
    files = RunFiles(run)
    try:
        return _page(files)
    except UserError:
        raise
    # JSON can hold anything in any place; the parts rely on what the commands write.
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"config.json, history.json or a report in {run.path} is damaged, or of another "
            f"version: {reason:.200}"
        ) from error


def _page(files: RunFiles) -> Page:
    parts = [part(files) for part in PARTS]
    return Page(
        title=files.run.path.resolve().name,
        subtitle=_subtitle(files),
        key_numbers=tuple(_key_numbers(files)),
        sections=tuple(part for part in parts if isinstance(part, Section)),
        missing=tuple(_missing(files, parts)),
    )


def _missing(files: RunFiles, parts: list[Section | Missing]) -> list[Missing]:
    """One entry for each command, however many sections it writes for."""
    titles = {}
    for model, title in TITLES.items():
        if not files.section(model):
            titles[files.training_command(model)] = [title]
    for part in parts:
        if isinstance(part, Missing):
            titles.setdefault(part.command, []).extend(part.titles)
    return [Missing(tuple(found), command) for command, found in titles.items()]


def _subtitle(files: RunFiles) -> str:
    data = files.config["data"]
    return (
        f"PixelCNN++ on pictures of {shape(data.get('image_shape'))}, "
        f"{len(files.class_names)} classes"
    )


def _key_numbers(files: RunFiles) -> list[KeyNumber]:
    classification, generation = files.json("classification"), files.json("generation")
    numbers = []
    for name, title in TITLES.items():
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


def _render(page: "Page") -> str:

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        # Always: names of classes come from the user's folders.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(page=page, version=__version__)


def write_page(
    folder: RunFolder,
) -> None:
    """Writes all that is known of a run as one page."""
    page = build_page(folder)
    path = folder.reports / "index.html"
    with atomic_path(path) as temporary:
        temporary.write_text(_render(page), encoding="utf-8")
    for part in page.missing:
        print(f"Not measured yet: {', '.join(part.titles)}. {part.command}")
    print(f"Wrote {path}")
