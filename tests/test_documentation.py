"""The documentation names everything there is, and its links lead somewhere. Needs no Sphinx."""

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest
import typer

import keras_pixelcnnpp
from keras_pixelcnnpp.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "tutorials").glob("*.ipynb"))
SKIPPED = {"_build", "runs"}
MODULES_WITH_NAMES = ("data", "layers")


def markdown_files():
    folders = [ROOT.glob("*.md"), DOCS.rglob("*.md")]
    folders += [(ROOT / "keras_pixelcnnpp").rglob("*.md"), (ROOT / "benchmarks").rglob("*.md")]
    for paths in folders:
        for path in sorted(paths):
            if not SKIPPED.intersection(path.relative_to(ROOT).parts):
                yield path


def cells(path, kind):
    content = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


def texts():
    """From a file to its Markdown, without code."""
    for path in markdown_files():
        yield path, path.read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        yield path, "\n".join(cells(path, "markdown"))


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(path):
    """The places that GitHub gives the headings of a Markdown file."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(*pair, id=str(pair[0].relative_to(ROOT))) for pair in texts()]
)
def test_links_lead_somewhere(path, text):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = path.parent / name if name else path
        if not found.exists() or (
            anchor and found.suffix == ".md" and anchor not in anchors(found)
        ):
            wrong.append(target)
    assert not wrong


def test_included_files_and_places_are_there():
    """An include whose place isn't found would be an error of `make docs` only."""
    for path in DOCS.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        for block in re.findall(r"```\{(?:include|literalinclude)\} (.*?)```", text, re.DOTALL):
            name, *options = block.splitlines()
            included = (path.parent / name).read_text(encoding="utf-8")
            for place in re.findall(r':(?:start-after|end-before): "(.*)"', "\n".join(options)):
                assert included.count(place) == 1, (path, place)


def public_names():
    package = "keras_pixelcnnpp"
    for name in keras_pixelcnnpp.__all__:
        yield f"{package}.{name}"
    for module in MODULES_WITH_NAMES:
        for name in importlib.import_module(f"{package}.{module}").__all__:
            yield f"{package}.{module}.{name}"


def test_every_public_name_has_a_place_in_the_reference():
    reference = "\n".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    described = set(re.findall(r"^\.\. auto\w+:: (\S+)$", reference, re.MULTILINE))
    assert set(public_names()) <= described
    for module in keras_pixelcnnpp._MODULES:
        assert any(name.startswith(f"keras_pixelcnnpp.{module}.") for name in described), module


def test_every_described_name_exists():
    for path in (DOCS / "reference").glob("*.md"):
        for kind, name in re.findall(r"^\.\. auto(\w+):: (\S+)$", path.read_text(), re.MULTILINE):
            module, _, attribute = name.rpartition(".")
            if kind == "module":
                module, attribute = name, "__doc__"
            assert hasattr(importlib.import_module(module), attribute), name


def commands(group, words=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name))


def test_every_command_is_in_the_how_to():
    pages = "\n".join(path.read_text() for path in (DOCS / "how-to").glob("*.md"))
    found = list(commands(typer.main.get_command(app)))
    assert len(found) > 15
    missing = [name for name in found if not re.search(rf"\b{name.replace(' ', ' +')}\b", pages)]
    assert not missing


def test_every_preset_is_on_their_page():
    page = (DOCS / "presets.md").read_text(encoding="utf-8")
    for folder in (ROOT / "keras_pixelcnnpp" / "presets").glob("*/"):
        if (folder / "config.json").exists():
            card = "README.md" if (folder / "README.md").exists() else "config.json"
            assert f"include}} ../keras_pixelcnnpp/presets/{folder.name}/{card}" in page


def test_every_page_is_in_a_table_of_contents():
    inside = {DOCS / "index.md"}
    for path in DOCS.rglob("index.md"):
        for block in re.findall(r"```\{toctree\}(.*?)```", path.read_text(), re.DOTALL):
            inside |= {path.parent / line for line in block.splitlines() if line}
    pages = [path for path in markdown_files() if path.is_relative_to(DOCS)] + NOTEBOOKS
    named = {path.with_suffix("") for path in inside}
    assert not [path for path in pages if path.with_suffix("") not in named]


def test_notebooks_are_stored_without_outputs():
    assert len(NOTEBOOKS) == 4
    for path in NOTEBOOKS:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert content["nbformat"] == 4
        for cell in content["cells"]:
            assert not cell.get("outputs"), path
            assert cell.get("execution_count") is None, path


def test_notebooks_open_in_colab_and_install_the_package_there():
    conf = (DOCS / "conf.py").read_text(encoding="utf-8")
    repository = re.search(r'^repository = "https://github.com/(.*)"$', conf, re.MULTILINE)[1]
    for path in NOTEBOOKS:
        address = f"colab.research.google.com/github/{repository}/blob/main"
        assert f"{address}/{path.relative_to(ROOT).as_posix()}" in cells(path, "markdown")[0]
        code = "\n".join(cells(path, "code"))
        assert f"[tensorflow] @ git+https://github.com/{repository}" in code
        assert set(re.findall(r"github\.com/([\w-]+/[\w-]+)", code)) == {repository}


def untyped(function):
    """What in a signature has no type."""
    signature = inspect.signature(function)
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
    ]
    returns = signature.return_annotation is not signature.empty
    return missing + ["return"] * (not returns and function.__name__ != "__init__")


@pytest.mark.parametrize("name", keras_pixelcnnpp.__all__)
def test_signatures_of_public_names_are_typed(name):
    public = getattr(keras_pixelcnnpp, name)
    functions = {name: public} if inspect.isfunction(public) else {}
    for cls in getattr(public, "__mro__", ()):
        if cls.__module__.startswith("keras_pixelcnnpp"):
            of_class = {key: getattr(value, "__func__", value) for key, value in vars(cls).items()}
            functions |= {
                f"{cls.__name__}.{key}": value
                for key, value in of_class.items()
                if inspect.isfunction(value)
                and value.__module__.startswith("keras_pixelcnnpp")
                and (key == "__init__" or not key.startswith("_"))
            }
    assert {key: untyped(value) for key, value in functions.items() if untyped(value)} == {}
