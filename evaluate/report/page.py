"""What a report's page is made of. All of it is plain text: the template escapes it."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class KeyNumber:
    """A number that stands out at the top of the page.

    Args:
        label: What it is.
        value: The number, with its unit.
        note: A few words below it.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows.

    Args:
        headings: One for each column.
        rows: The cells, row by row.
        caption: A line above it.
    """

    kind: ClassVar[str] = "table"
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture, with its content.

    Args:
        uri: A data URI.
        size: Width and height in pixels.
        alt: What is to be seen, for those who cannot see it.
        caption: A line below it.
        chart: Whether it is black on white, without photographs: it becomes white on black on dark
            screens.
        scrolls: Whether it has letters that nobody could read if it were shrunk to a small screen.
    """

    kind: ClassVar[str] = "picture"
    uri: str
    size: tuple[int, int]
    alt: str
    caption: str = ""
    chart: bool = False
    scrolls: bool = False


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many as there is room for.

    Args:
        pictures: The pictures.
        small: Whether many fit into a row.
    """

    kind: ClassVar[str] = "gallery"
    pictures: tuple[Picture, ...]
    small: bool = False


@dataclass(frozen=True)
class Listing:
    """Lines to be typed.

    Args:
        lines: The lines.
        caption: A line above them.
    """

    kind: ClassVar[str] = "listing"
    lines: tuple[str, ...]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title: Its heading.
        text: What it shows and how to read it.
        blocks: Tables, pictures, galleries and listings.
    """

    title: str
    text: str
    blocks: tuple[Table | Picture | Gallery | Listing, ...]

    @property
    def anchor(self) -> str:
        """The section's name in links."""
        return self.title.lower().replace(" ", "-").replace("+", "p")


@dataclass(frozen=True)
class Missing:
    """What the run folder has nothing about yet.

    Args:
        titles: What it would be: the sections.
        command: The command that measures them.
    """

    titles: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Page:
    """The whole report.

    Args:
        title: The name of the run.
        subtitle: What the run is about, in one line.
        key_numbers: What stands out.
        sections: In order.
        missing: What is not there.
    """

    title: str
    subtitle: str
    key_numbers: tuple[KeyNumber, ...]
    sections: tuple[Section, ...]
    missing: tuple[Missing, ...]
