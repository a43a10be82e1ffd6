"""Writes the reference from docstrings and commands: `python docs/extensions/reference.py`.

A page has a comment for each class, function or module that it documents, such as
`<!-- reference: keras_pixelcnnpp.BaselineCNN compile predict -->`, with the members to show; `*`
stands for all of them. What follows up to `<!-- end -->` is generated. GitHub and the site show the
same text.
"""

import logging
import re
from pathlib import Path
from pydoc import locate

import griffe
from commands import markdown_of_commands

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
BLOCK = re.compile(r"<!-- reference: (\S+)(.*?) -->\n(?:.*?<!-- end -->\n)?", re.S)
HEADING = re.compile(r"^(#+) ", re.M)
LISTS = {"parameters": "Arguments", "attributes": "Attributes", "raises": "Raises"}
WIDTH = 88


def pages():
    """Yields the path of each page with generated text, and its content."""
    logging.getLogger("griffe").setLevel(logging.ERROR)  # a docstring documents two names at once
    package = griffe.load("keras_pixelcnnpp", search_paths=[str(ROOT)], docstring_parser="google")
    for path in sorted(REFERENCE.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if BLOCK.search(text):
            yield path, BLOCK.sub(lambda match: _block(package, match), text)


def _block(package, match):
    name, members = match[1], match[2].split()
    if name == "commands":
        generated = markdown_of_commands()
    else:
        above = HEADING.findall(BLOCK.sub("", match.string[: match.start()]))
        level = len(above[-1]) + 1
        generated = "\n".join(_of_object(package, name, members, level))
    opening = f"<!-- reference: {' '.join([name, *members])} -->"
    return f"{opening}\n\n{generated.strip()}\n\n<!-- end -->\n"


def _of_object(package, name, members, level):
    """Yields the lines about an object and some of its members."""
    found = locate(name)
    if found is None:
        raise LookupError(f"{name} is documented, but does not exist")
    path = name  # where it is defined, which may be another module
    path = (
        name if not hasattr(found, "__qualname__") else f"{found.__module__}.{found.__qualname__}"
    )
    described = package[path.removeprefix("keras_pixelcnnpp.")]
    short = name.replace("keras_pixelcnnpp", "kp", 1)
    yield from _description(described, short, level)
    if members == ["*"]:
        members = [one.name for one in described.members.values() if _is_public(one)]
    for member in members:
        yield from _description(described.all_members[member], f"{short}.{member}", level + 1)


def _is_public(member):
    documented = member.is_function or "property" in member.labels
    return documented and member.name[0] != "_" and member.docstring is not None


def _description(found, name, level):
    """Yields the heading, the signature, and the sections of the docstring of an object."""
    yield f"{'#' * level} `{name}`\n"
    if signature := _signature(found, name):
        yield f"```python\n{signature}\n```\n"
    for section in found.docstring.parsed if found.docstring else ():
        yield from _section(section, found)


def _signature(found, name):
    """Returns the arguments of a function or of a class, with their types and defaults."""
    call = found.all_members.get("__init__") if found.is_class else found
    if call is None or not call.is_function or "property" in call.labels:
        return ""
    words, seen_star = [], False
    for one in call.parameters:
        if one.name in ("self", "cls"):
            continue
        kind = one.kind.value
        if kind == "keyword-only" and not seen_star:
            words.append("*")
            seen_star = True
        seen_star |= kind == "variadic positional"
        star = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        annotation = "" if one.annotation is None else f": {one.annotation}"
        has_default = one.default is not None and not star
        default = f" = {one.default}" if annotation else f"={one.default}"
        words.append(f"{star}{one.name}{annotation}{default * has_default}")
    returns = "" if found.is_class or call.returns is None else f" -> {call.returns}"
    line = f"{name}({', '.join(words)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {word}," for word in words), f"){returns}"])


def _section(section, found):
    """Yields a section of the docstring of an object as Markdown."""
    kind, value = section.kind.value, section.value
    if kind == "text":
        yield f"{_code_fenced(value)}\n"
    elif kind in LISTS:
        yield f"**{section.title or LISTS[kind]}**\n"
        for one in value:
            name = one.annotation if kind == "raises" else one.name
            yield f"- `{name}`: {_indented(one.description)}"
        yield ""
    elif kind == "returns":
        text = "\n".join(_returned(one, found) for one in value)
        yield f"**Returns**\n\n{text}\n"
    elif kind == "admonition":
        title = value.kind.replace("-", " ").capitalize()
        text = _as_list(value.description) if "arguments" in value.kind else value.description
        yield f"**{title}**\n\n{_code_fenced(text)}\n"
    elif kind == "examples":
        yield "**Example**\n"
        for part, text in value:
            yield f"{text}\n" if part.value == "text" else f"```pycon\n{text}\n```\n"
    else:
        raise NotImplementedError(f"a section of the kind {kind}")


def _returned(value, found):
    """Returns the text of a returned value; griffe takes words before a colon for a type."""
    words = "" if value.annotation is None else str(value.annotation)
    is_of_signature = not words or words == str(getattr(found, "returns", ""))
    return value.description if is_of_signature else f"{words}: {value.description}"


def _as_list(text):
    """Returns lines `name: description` as a list."""
    return re.sub(r"^(\S[^:\n]*): ", r"- `\1`: ", text, flags=re.M).replace("\n    ", "\n  ")


def _indented(text):
    return text.replace("\n", "\n  ")


def _code_fenced(text):
    """Puts code with prompts into fences, and titles of examples into bold letters."""
    text = re.sub(r"^(Examples?):$", r"**\1**", text, flags=re.M)
    return re.sub(
        r"^>>> (?:.+\n?)+", lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", text, flags=re.M
    )


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
