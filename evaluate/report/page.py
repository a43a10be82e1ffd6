"""What a report's page is made of. All of it is plain text: the template escapes it."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows. Without any, it isn't shown."""

    kind: ClassVar[str] = "table"
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Picture:
    """A picture with its content, a data URI; `alt` is for those who cannot see it."""

    kind: ClassVar[str] = "picture"
    uri: str
    size: tuple[int, int]
    alt: str
    caption: str = ""
    chart: bool = False  # black on white, without photographs: it is turned round on dark screens
    scrolls: bool = False  # has letters that nobody could read if it were shrunk to a small screen


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, as many as there is room for. Without any, it isn't shown."""

    kind: ClassVar[str] = "pictures"
    pictures: tuple[Picture, ...]
    small: bool = False

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class Listing:
    """Lines to be typed."""

    kind: ClassVar[str] = "listing"
    lines: tuple[str, ...]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: what it shows, how to read it, and the blocks that there are."""

    title: str
    text: str
    blocks: tuple[Table | Picture | Pictures | Listing | None, ...]

    @property
    def anchor(self) -> str:
        """The section's name in links."""
        return self.title.lower().replace(" ", "-").replace("+", "p")


@dataclass(frozen=True)
class Missing:
    """Sections that the run folder has nothing for yet, and the command that measures it."""

    titles: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class KeyNumber:
    """A number that stands out at the top of the page, with its unit and a few words below."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    subtitle: str
    key_numbers: tuple[KeyNumber, ...]
    sections: tuple[Section, ...]
    missing: tuple[Missing, ...]
