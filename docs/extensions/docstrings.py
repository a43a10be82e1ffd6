"""Docstrings in Markdown, as reStructuredText: code, tables, links, formulas."""

import inspect
import re

SECTION = re.compile(r"[A-Z]\w*( \w+)?:$")
ROW = re.compile(r"\s*\|.*\|$")
BLOCK = re.compile(r"\s*(```|\||>>>)")
RULE = re.compile(r"\s*\|[\s:|-]+\|$")


def restructured(lines):
    """Translates the lines of a docstring.

    Args:
        lines: List of strings without the docstring's own indentation.

    Returns:
        List of strings.
    """
    written, index = [], 0
    while index < len(lines):
        line = lines[index]
        indent = line[: len(line) - len(line.lstrip())]
        if line.lstrip().startswith("```"):
            end = index + 1
            while not lines[end].lstrip().startswith("```"):
                end += 1
            language = line.strip().removeprefix("```") or "text"
            written += _code(indent, language, lines[index + 1 : end])
            index = end + 1
        elif ROW.match(line) and index + 1 < len(lines) and RULE.match(lines[index + 1]):
            end = index
            while end < len(lines) and ROW.match(lines[end]):
                end += 1
            written += _table(indent, [lines[index], *lines[index + 2 : end]])
            index = end
        elif _is_formula(lines, index):
            end = index
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end]):
                end += 1
            written += _code("", "text", [text[4:] for text in lines[index:end]])
            index = end
        elif line.lstrip().startswith(">>>"):
            written.append(line)
            index += 1
        else:
            end = index + 1
            while end < len(lines) and lines[end] and not BLOCK.match(lines[end]):
                end += 1
            # Together, since code may begin on one line and end on the next.
            written += _inline("\n".join(lines[index:end])).split("\n")
            index = end
    return written


def _code(indent, language, lines):
    return [
        "",
        f"{indent}.. code-block:: {language}",
        "",
        *(f"{indent}   {line.removeprefix(indent)}".rstrip() for line in lines),
        "",
    ]


def _table(indent, rows):
    written = ["", f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
    for row in rows:
        # A bar inside code separates nothing.
        cells = re.findall(r"((?:`[^`]*`|[^|`])*)\|", row.strip().removeprefix("|"))
        for number, cell in enumerate(cells):
            mark = "-" if number else "* -"
            written.append(f"{indent}   {mark:>3} {_inline(cell.strip())}".rstrip())
    return [*written, ""]


def _is_formula(lines, index):
    """Whether a block begins that is indented under plain text, as code is in Markdown."""
    if not lines[index].startswith("    ") or index < 2 or lines[index - 1]:
        return False
    before = next((line for line in reversed(lines[:index]) if line), "")
    return bool(before) and not before.startswith(" ") and not SECTION.match(before)


def _inline(text):
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(f"`{part}`" if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text):
    text = re.sub(r"\[([^\]]+)\]\((https?:[^)]+)\)", r"`\1 <\2>`__", text)
    return re.sub(r"(?<=\w)\*(?=\w)|(?<=\w)_(?=[^\w:])|\|(?=\w)", r"\\\g<0>", text)


def to_restructured_text(app, what, name, found, options, lines):
    """Docstrings are Markdown, as Keras's are; Sphinx's sections of arguments are not."""
    lines[:] = restructured(lines)


def signature_of_init(app, what, name, found, options, signature, annotation):
    """Returns the arguments of `__init__`, because Keras's `__new__` takes any arguments."""
    init = getattr(found, "__init__", None)
    if what != "class" or not getattr(init, "__module__", "").startswith("keras_pixelcnnpp"):
        return None
    parameters = list(inspect.signature(init).parameters.values())[1:]
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    # A default object is shown by its class, without an address.
    return re.sub(r"<[\w.]*?(\w+) object at \w+>", r"\1()", str(inspect.Signature(plain))), None


def setup(app):
    """Connects the two functions above."""
    app.connect("autodoc-process-docstring", to_restructured_text, priority=400)  # then napoleon
    app.connect("autodoc-process-signature", signature_of_init)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
