"""Links of Markdown files as the repository has them, turned into those of the site."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Files outside this folder that pages of the site show. Links to all others lead to the repository.
PAGES = {
    "README.md": "index.md",
    "RESULTS.md": "results.md",
    "RELIABILITY.md": "reliability.md",
}
LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def target_on_the_site(folder, path, anchor, repository):
    """Where a relative link of a file in `folder` leads on the site; `None`: it is right as it is.

    Files are linked as they are found in the repository, so that they can be read there as well.
    """
    target = Path(os.path.normpath(folder / path))
    if target.is_relative_to(ROOT / "docs") and target.exists():
        inside = target.relative_to(ROOT / "docs")
        return f"/{inside.as_posix()}{anchor}" if folder != target.parent else None
    if not target.is_relative_to(ROOT) or not target.exists():
        return None  # the build warns
    inside = target.relative_to(ROOT).as_posix()
    if inside in PAGES:
        return f"/{PAGES[inside]}{anchor}"
    return f"{repository}/{'tree' if target.is_dir() else 'blob'}/main/{inside}{anchor}"


def with_links_of_the_site(folder, text, repository):
    """A Markdown text, or a notebook's JSON, whose links out of `docs` lead somewhere."""

    def replaced(match):
        image, words, path, anchor = match[1], match[2], match[3], match[4] or ""
        target = None if image else target_on_the_site(folder, path, anchor, repository)
        return f"[{words}]({target})" if target else match[0]

    return LINK.sub(replaced, text)


def rewrite_page(app, docname, source):
    """Rewrites the links of a page that was read."""
    folder = Path(app.env.doc2path(docname)).parent
    source[0] = with_links_of_the_site(folder, source[0], app.config.repository)


def rewrite_included(app, relative_path, parent, content):
    """Rewrites the links of a file that a page includes."""
    folder = Path(os.path.normpath(Path(app.srcdir) / relative_path)).parent
    content[0] = with_links_of_the_site(folder, content[0], app.config.repository)


def setup(app):
    """Connects the two functions above."""
    app.add_config_value("repository", "", "env")
    app.connect("source-read", rewrite_page)
    app.connect("include-read", rewrite_included)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
