"""`pixelcnnpp evaluate report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keras_pixelcnnpp.reporting.page import Page


def report(run: Annotated[Path, typer.Option(help="The run folder.")]) -> None:
    """Write all that is known of a run as one page, reports/index.html.

    The page holds its pictures: it can be mailed, and read without a network. What was not measured
    yet is named with the command that measures it.
    """
    from keras_pixelcnnpp.atomic import atomic_path
    from keras_pixelcnnpp.reporting import build_page
    from keras_pixelcnnpp.run_folder import RunFolder

    folder = RunFolder(run)
    page = build_page(folder)
    path = folder.reports / "index.html"
    with atomic_path(path) as temporary:
        temporary.write_text(_render(page), encoding="utf-8")
    for part in page.missing:
        print(f"Not measured yet: {', '.join(part.titles)}. {part.command}")
    print(f"Wrote {path}")


def _render(page: "Page") -> str:
    import jinja2

    from keras_pixelcnnpp import __version__

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        # Always: names of classes come from the user's folders.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(page=page, version=__version__)
