import csv
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from keras_pixelcnnpp.utils.errors import UserError, is_disk_full
from keras_pixelcnnpp.utils.files import (
    atomic_files,
    atomic_path,
    read_cells,
    read_json,
    remove_leftovers,
    write_bytes,
    write_csv,
    write_json,
)

pytestmark = pytest.mark.once


@pytest.mark.parametrize("folder", [False, True])
def test_replaces_what_is_there(tmp_path, folder):
    path = tmp_path / "new" / "1"
    for name in ("one", "two"):
        with atomic_path(path) as temporary:
            if folder:
                temporary.mkdir()
                (temporary / name).touch()
            else:
                temporary.write_text(name)
        found = [file.name for file in path.iterdir()] if folder else [path.read_text()]
        assert found == [name]
        assert list(path.parent.iterdir()) == [path]


def test_names_that_are_not_utf8_come_back_from_json(tmp_path):
    content = {"command": "train --data a\udcff.csv", "name": "ü 𝄞"}
    write_json(tmp_path / "config.json", content)
    assert read_json(tmp_path / "config.json") == content


def test_a_folder_that_cannot_be_replaced_is_kept(tmp_path, monkeypatch):
    """The old folder is moved away first, and comes back."""
    path = tmp_path / "1"
    path.mkdir()
    (path / "old").touch()

    def no_replace(self, target):
        raise OSError("no rename")

    monkeypatch.setattr(Path, "replace", no_replace)
    with pytest.raises(OSError, match="no rename"), atomic_path(path) as temporary:
        temporary.mkdir()
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_replaced_together(tmp_path):
    for name in ("a.txt", "roc_1.png", "roc_2.png", "other.png"):
        (tmp_path / name).write_text("old")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with suppress(ValueError), atomic_files(tmp_path, ["roc_*"]) as folder:
        (folder / "a.txt").write_text("new")
        raise ValueError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    with atomic_files(tmp_path, ["roc_*"]) as folder:
        (folder / "a.txt").write_text("new")
        (folder / "roc_2.png").write_text("new")
    del before["roc_1.png"]
    expected = before | {"a.txt": "new", "roc_2.png": "new"}
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == expected


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    others = {".work.20240131.tmp", ".pixelcnnpp", ".pixelcnnpp-notes.txt", "old.txt"}
    for name in others:
        (tmp_path / name).touch()
    with atomic_path(tmp_path / "old.txt") as temporary:
        temporary.write_text("new")
        shutil.copytree(temporary.parent, f"{temporary.parent}-of-another-process")
    assert len(list(tmp_path.iterdir())) == 5
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == others


def test_full_disk_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            write_bytes(path, bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_disk_full(error.value)
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes of a name")
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="a pipe or device"):
        write_bytes(tmp_path / "pipe", b"1")
    assert (tmp_path / "pipe").is_fifo()


def test_urls_are_not_folders():
    with pytest.raises(UserError, match="Expected a local path"):
        write_bytes("s3://bucket/run/config.json", b"1")


def test_spreadsheets_find_no_formula(tmp_path):
    """Texts that look like one begin with an apostrophe, and are read back as they were."""
    texts = ["=1+1", "+A1|B", "-2+3", "@SUM(1)", "\t=1", "\r=1", "'=a.png", "a=1", "", "é\udcff"]
    write_csv(tmp_path / "a.csv", [texts, [-1, 0.5, "-1.5", "-2e-05", "+3"]])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        first, second = csv.reader(file)
    assert first == [f"'{text}" for text in texts[:7]] + texts[7:]
    assert second == ["-1", "0.5", "-1.5", "-2e-05", "+3"]
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert read_cells(file) == [texts, second]
