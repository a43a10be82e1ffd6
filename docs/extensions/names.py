"""Writes reference/names.md, the reference that GitHub shows: `python docs/extensions/names.py`."""

import inspect
import re
from pydoc import locate

from reference import BLOCK, REFERENCE

MOST_ARGUMENTS = 12
INTRODUCTION = """# Public names

Each public name with its arguments and the first line of its docstring. Python's `help` shows the
whole docstrings, as do the other pages of the [reference](index.md).
`python docs/extensions/names.py` writes this page.
"""


def members(found, names):
    """Yields the given members of a class, or for `*` all that have a docstring."""
    if names == ["*"]:
        documented = (property, staticmethod, classmethod, type(arguments))
        names = [name for name, one in vars(found).items() if isinstance(one, documented)]
    for name in names:
        if name[0] != "_":
            yield name, inspect.getattr_static(found, name)


def arguments(found):
    """Returns the arguments in parentheses, without annotations; of a property, nothing."""
    found = getattr(found, "__func__", found)  # of a class method
    call = found.__init__ if inspect.isclass(found) else found
    if not inspect.isfunction(call):
        return ""
    parameters = inspect.signature(call).parameters.values()
    plain = [one.replace(annotation=one.empty) for one in parameters]
    words = [str(one) for one in plain if one.name not in ("self", "cls")]
    more = [] if len(words) <= MOST_ARGUMENTS else ["…"]
    # A default object is shown by its class, without an address or arguments.
    shown = ", ".join(words[:MOST_ARGUMENTS] + more)
    shown = re.sub(r"<function .*?<lambda> at \w+>", "…", shown)
    shown = re.sub(r"<[\w.]*?(\w+) object at \w+>", r"\1()", shown)
    shown = re.sub(r"=([A-Z]\w+)\(.+?\)(?=, \*\*|$)", r"=\1(…)", shown)
    return f"({shown})"


def row(name, found):
    """Returns a row of the table: name, arguments, and first line of the docstring."""
    first = (inspect.getdoc(found) or "").partition("\n\n")[0].replace("\n", " ")
    cells = (text.replace("|", r"\|") for text in (f"`{name}{arguments(found)}`", first))
    return "| {} | {} |\n".format(*cells)


def page():
    """Returns the text of the page, from the directives of the other pages."""
    parts = [INTRODUCTION]
    order = re.findall(r"^(\w+)$", (REFERENCE / "index.md").read_text(encoding="utf-8"), re.M)
    for name in order[1:]:  # the first is this page
        text = (REFERENCE / f"{name}.md").read_text(encoding="utf-8")
        rows = []
        for full, listed in BLOCK.findall(text):
            if full == "commands":
                continue
            found = locate(full)
            if found is None:
                raise LookupError(f"{name}.md documents {full}, which does not exist")
            short = full.replace("keras_pixelcnnpp", "kp", 1)
            if not inspect.ismodule(found):
                rows.append(row(short, found))
            of = short if inspect.ismodule(found) else ""  # a method is below its class
            rows += [row(f"{of}.{own}", one) for own, one in members(found, listed.split())]
        if rows:
            title = text.partition("\n")[0].removeprefix("# ")
            parts += [f"\n## [{title}]({name}.md)\n\n| name | |\n|---|---|\n", *rows]
    return "".join(parts)


if __name__ == "__main__":
    (REFERENCE / "names.md").write_text(page(), encoding="utf-8")
