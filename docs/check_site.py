"""Checks a built site without a network: every link leads somewhere, and nothing is fetched.

python docs/check_site.py docs/_build/html
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself, and by which attribute.
FETCHED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
CSS_ADDRESS = re.compile(r"(?:url\(\s*|@import\s+)['\"]?((?:https?:)?//[^'\")\s]+)")


class Page(HTMLParser):
    """The links, names and fetched files of a page."""

    def __init__(self, path):
        super().__init__()
        self.names, self.links, self.fetched = set(), [], []
        text = path.read_text(encoding="utf-8")
        self.feed(text)
        self.fetched += CSS_ADDRESS.findall(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if attributes.get(FETCHED.get(tag)):
            self.fetched.append(attributes[FETCHED[tag]])


def problems(site):
    """Lines that say what is wrong with a built site."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(site)
        for address in page.links + page.fetched:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                if address in page.fetched:
                    yield f"{where} fetches {address}"
                continue
            target = path.parent / unquote(parts.path) if parts.path else path
            target = target.resolve()
            if not target.exists():
                yield f"{where}: no file for {address}"
            elif target in pages and unquote(parts.fragment) not in {"", *pages[target].names}:
                yield f"{where}: no such place: {address}"
    for path in sorted(site.rglob("*.css")):
        for address in CSS_ADDRESS.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)} fetches {address}"


def main():
    """Prints what is wrong, and fails if anything is."""
    site = Path(sys.argv[1]).resolve()
    found = list(problems(site))
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        sys.exit(1)
    print(
        f"{len(list(site.rglob('*.html')))} pages: every link leads somewhere, nothing is fetched."
    )


if __name__ == "__main__":
    main()
