import json

import pytest

from keras_pixelcnnpp.atomic import atomic_path, write_json


def test_replaces_a_file(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with atomic_path(path) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_replaces_a_folder(tmp_path):
    path = tmp_path / "1"
    for name in ("one", "two"):
        with atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
        assert [p.name for p in path.iterdir()] == [name]
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def write_half(path, folder):
    with atomic_path(path) as temporary:
        if folder:
            temporary.mkdir()
            (temporary / "half").write_text("half")
        else:
            temporary.write_text("half")
        raise RuntimeError


@pytest.mark.parametrize("folder", [False, True])
def test_failure_leaves_the_old_content(tmp_path, folder):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(path, folder)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_json_is_json(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Käse", "value": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": "Käse", "value": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
