"""Whatever the JSON files of a run hold: a page, or one line."""

import json
import shutil

import hostile
import pytest
from finished_run import write_finished_run
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_pixelcnnpp.evaluate.report.build import build_page
from keras_pixelcnnpp.evaluate.report.page import Page
from keras_pixelcnnpp.run import RunFolder

VALUES = st.sampled_from([None, True, 3, -1, 1e400, "x", [], [1], ["x"], {}, {"x": 1}])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return write_finished_run(tmp_path_factory.mktemp("finished") / "run")


def places(content, path=()):
    """The path of every value within JSON."""
    inner = content.items() if isinstance(content, dict) else ()
    inner = enumerate(content) if isinstance(content, list) else inner
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def replaced(content, path, value):
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_value_in_any_place(finished, data):
    run = RunFolder(finished.path.parent / "changed")
    if not run.path.exists():
        shutil.copytree(finished.path, run.path)
    files = sorted(path for path in finished.path.rglob("*.json"))
    file = data.draw(st.sampled_from(files), "file")
    content = json.loads(file.read_text(encoding="utf-8"))
    path = data.draw(st.sampled_from(places(content)), "place")
    changed = run.path / file.relative_to(finished.path)
    changed.write_text(json.dumps(replaced(content, path, data.draw(VALUES, "value"))))
    try:
        page = hostile.result_or_one_line(build_page, run)
    finally:
        shutil.copyfile(file, changed)
    assert page is None or isinstance(page, Page)
