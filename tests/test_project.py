"""Tests of the README's code, the pages of results, the benchmarks and the packaging."""

import ast
import importlib
import importlib.util
import json
import re
import runpy
import sys
from configparser import ConfigParser
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
import results

import keras_pixelcnnpp

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]


def test_results_say_what_the_kept_files_say():
    """If it fails after a change of a file, run python benchmarks/results.py."""
    for path, rendered in results.render().items():
        assert path.read_text(encoding="utf-8") == rendered


def test_the_reference_says_what_the_docstrings_say(monkeypatch):
    """If it fails after a change of a docstring or an option, run `make reference`."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "extensions")
    names, reference = map(importlib.import_module, ("names", "reference"))
    written = (ROOT / "docs" / "reference" / "names.md").read_text(encoding="utf-8")
    assert written == names.page()
    assert all(name in written for name in keras_pixelcnnpp.__all__)
    pages = dict(reference.pages())
    assert len(pages) > 10
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text
    every = "".join(pages.values())
    assert "**Raises**\n\n- `ValueError`: If an argument is out of range." in every
    assert all(f"## `pixelcnnpp {name}`" in every for name in ("train", "evaluate ood", "export"))


def test_parts_of_files_that_pages_include_exist():
    """The site includes parts of the README, between texts that it must have."""
    include = re.compile(r"```\{include\} (\S+)\n((?::.*\n)*)```")
    found = 0
    for page in (ROOT / "docs").rglob("*.md"):
        for path, options in include.findall(page.read_text(encoding="utf-8")):
            included = (page.parent / path).read_text(encoding="utf-8")
            for text in re.findall(r':(?:start-after|end-before): "(.*)"', options):
                assert text in included, (page, text)
                found += 1
    assert found > 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # warnings do not matter to readers of the README
@pytest.mark.once
def test_code_of_the_readme_runs(tmp_path, monkeypatch):
    """All blocks as they stand, one after another, in one folder."""
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = {}
    for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "exported" / "1" / "saved_model.pb").exists()
    assert names["clothes"].shape == (2, 28, 28, 1)
    rate, found = names["rate"][3600:], names["found"]
    assert np.sqrt(np.mean((found.mean - rate) ** 2)) < 0.07
    inside = (found.interval(0.9)[..., 0] <= rate) & (rate <= found.interval(0.9)[..., 1])
    assert 0.75 < inside.mean() < 0.99


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of packages that a script imports
@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_scripts_start(folder, monkeypatch, capsys):
    """All that they import at the top exists, and their options are declared correctly."""
    for path in sorted((ROOT / folder).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        others = [
            name for name in ("httpx", "sbi") if re.search(rf"^(import|from) {name}\b", text, re.M)
        ]
        misses_extra = any(importlib.util.find_spec(name) is None for name in others)
        if "__main__" in text and not misses_extra:
            monkeypatch.setattr(sys, "argv", [str(path), "--help"])
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(str(path), run_name="__main__")
            assert not ended.value.code, path
            assert "usage" in capsys.readouterr().out.lower()


def test_a_wheel_has_every_package():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    folders = {"keras_pixelcnnpp": "keras_pixelcnnpp"}
    for line in settings["options"]["package_dir"].strip().splitlines():
        name, folder = (part.strip() for part in line.split("="))
        if name:
            folders[name] = folder
    found = {
        ".".join((name, *path.parent.relative_to(ROOT / folder).parts))
        for name, folder in folders.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(settings["options"]["packages"].split()) == found


def imports_when_loaded(tree):
    """Yields the modules that a file imports outside functions and `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "keras_pixelcnnpp":
            yield from (f"keras_pixelcnnpp.{one.name}" for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif not isinstance(node, ast.FunctionDef) and "TYPE_CHECKING" not in ast.unparse(node):
            yield from imports_when_loaded(node)


def against_the_order(folders, order):
    """Returns the imports that point to the right in the order of rooms."""

    def place(module):
        room = module.split(".")[1:2]
        return order.index(room[0] if room and room[0] in order else "__init__")

    found = set()
    for name, folder in folders.items():
        for path in folder.rglob("*.py"):
            module = ".".join((name, *path.relative_to(folder).with_suffix("").parts))
            for imported in imports_when_loaded(ast.parse(path.read_text(encoding="utf-8"))):
                is_own = imported.partition(".")[0] == "keras_pixelcnnpp"
                if is_own and place(imported) > place(module):
                    found.add(f"{module} imports {imported}")
    return found


def test_imports_follow_the_order_of_the_page():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    order = re.search(r"## Packages.*?```\n(.*?)```", page, re.DOTALL)[1].replace("◄", " ").split()
    folders = {"keras_pixelcnnpp": ROOT / "keras_pixelcnnpp"}
    commands = ("train", "evaluate", "savedmodel", "app")
    folders |= {f"keras_pixelcnnpp.{name}": ROOT / name for name in commands}
    rooms = {path.parent.name for path in (ROOT / "keras_pixelcnnpp").glob("*/*.py")}
    assert rooms | {*commands, "__init__"} == set(order)
    assert against_the_order(folders, order) == set()
    # An entry at another place is noticed.
    assert against_the_order(folders, sorted(order)) != set()


def test_modules_of_commands_import_each_other_in_no_circle():
    """Also not inside a function, so that each can be read after those that it imports."""
    folder, package = ROOT / "keras_pixelcnnpp" / "commands", "keras_pixelcnnpp.commands."
    imports = {
        path.stem: {
            node.module.removeprefix(package)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module.startswith(package)
        }
        for path in folder.glob("*.py")
    }
    order = [*TopologicalSorter(imports).static_order()]  # raises an error if there is a circle
    assert order.index("helpers") < order.index("options") < order.index("model_commands")


@pytest.mark.parametrize("page", ["RELIABILITY.md", "ARCHITECTURE.md"])
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|benchmarks|examples)/[\w/.]+)`", text))
    assert not [name for name in named if not (ROOT / name).exists()]


LINK = re.compile(r"(?<!!)\[[^\[\]]*\]\(([^()\s:#]*)(?:#([^()\s]+))?\)")
CODE = re.compile(r"^(```+).*?^\1", re.DOTALL | re.MULTILINE)


def pages():
    """Yields the Markdown files of the repository, and the text cells of its notebooks."""
    for path in sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")}):
        yield path, path.read_text(encoding="utf-8")
    for path in sorted(ROOT.glob("docs/tutorials/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ("".join(one["source"]) for one in cells if one["cell_type"] == "markdown")
        yield path, "\n\n".join(texts)


def anchors(text):
    """Returns the anchors that GitHub and the site give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {one.replace(" ", "-") for one in words}


def test_links_lead_somewhere():
    texts = dict(pages())
    broken = []
    for path, text in texts.items():
        for name, anchor in LINK.findall(CODE.sub("", text)):
            target = (path.parent / name).resolve() if name else path
            is_page = anchor and target in texts
            if name.startswith("../../actions"):  # of GitHub
                continue
            if not target.exists() or (is_page and anchor not in anchors(texts[target])):
                broken.append(f"{path.relative_to(ROOT)}: {name}#{anchor}")
    assert not broken


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [keras_pixelcnnpp.__version__]
