"""The architecture's rules, read from the imports: they point down, and in no circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("app", "train", "evaluate", "savedmodel")
MAY_IMPORT = {
    "library": {"library"},
    "savedmodel": {"savedmodel", "library"},
    "evaluate": {"evaluate", "library"},
    "train": {"train", "evaluate", "library"},
    "app": {"app", "evaluate", "savedmodel", "library"},
}
ROOF = "keras_pixelcnnpp.cli"


def modules():
    """From a module's name to its syntax tree."""
    found = {}
    for folder in ("keras_pixelcnnpp", *ROOMS):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[0] in ROOMS:
                parts = ("keras_pixelcnnpp", *parts)
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree, names):
    """The modules of this package that a file names, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in names else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.fixture(scope="module")
def graph():
    trees = modules()
    found = {
        name: {other for other in imports(tree, trees) if other in trees}
        for name, tree in trees.items()
    }
    assert len(found) > 50
    return found


def room(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "library"


def test_rooms_import_what_lies_below(graph):
    wrong = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if name != ROOF and room(other) not in MAY_IMPORT[room(name)]
    ]
    assert not wrong


def test_no_two_files_import_each_other(graph):
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_a_file_is_what_a_reader_wants_open_at_once():
    """Neither crumbs nor heaps; the folder tree shows the architecture."""
    paths = [
        path for folder in ("keras_pixelcnnpp", *ROOMS) for path in (ROOT / folder).rglob("*.py")
    ]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    crumbs = [path for path, count in lines.items() if count < 50]
    assert len(paths) <= 110
    assert len(crumbs) <= len(paths) / 5, crumbs
    assert len(list((ROOT / "keras_pixelcnnpp").glob("*.py"))) <= 12
