"""The options of all commands as Markdown, from the commands themselves."""

import re

import typer
from typer.cli import get_docs_for_click

EXAMPLES = re.compile(r"^Examples?:\n((?:  .+\n)*)", re.MULTILINE)
HELP = re.compile(r"^\* `--help`: .*\n", re.MULTILINE)
# Not those within code or in an example.
OPTION = re.compile(r"^  pixelcnnpp .*$|`[^`\n]*`|(?<![\w-])(--[a-z][a-z-]*)", re.MULTILINE)
NO_OPTIONS = re.compile(r"\*\*Options\*\*:\n\n(?!\*)")


def markdown_of_commands():
    """Returns a Markdown section for each command: usage, arguments, options and examples."""
    import pixelcnnpp

    command = typer.main.get_command(pixelcnnpp.all_commands())
    context = command.make_context("pixelcnnpp", [], resilient_parsing=True)
    text = get_docs_for_click(obj=command, ctx=context, name="pixelcnnpp", indent=0)
    sections = text[text.index("\n## ") :].replace("\b", "")
    sections = NO_OPTIONS.sub("", HELP.sub("", sections))
    sections = OPTION.sub(lambda match: f"`{match[1]}`" if match[1] else match[0], sections)
    return EXAMPLES.sub(_code, sections)


def _code(match):
    lines = match[1].replace("  pixelcnnpp", "$ pixelcnnpp")
    return f"**Examples**:\n\n```console\n{lines}```\n" if lines else ""
