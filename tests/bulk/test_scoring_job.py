import csv
import json
import os
import shutil
import sys

import numpy as np
import parts
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.bulk import ScoringJob, write_parts

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

OPTIONS = ("--part-size", 4, "--batch-size", 3)


@pytest.fixture
def data(tmp_path):
    return parts.write_pictures(tmp_path / "data")


@pytest.fixture
def command(savedmodel, data, tmp_path):
    """The command, and the folder it writes to."""
    output = tmp_path / "scores"
    arguments = ("savedmodel", "score", savedmodel, "--data", data, "--output", output)
    return (*arguments, *OPTIONS), output


@pytest.fixture
def finished(pixelcnnpp, command):
    """What a command left that nothing broke off."""
    assert pixelcnnpp(*command[0])[0] == 0
    return parts.contents(command[1])


def rows(output):
    for part in sorted(output.glob("*.csv")):
        with part.open(newline="") as file:
            yield from csv.DictReader(file)


class TestScores:
    def test_are_those_of_the_model(self, pixelcnnpp, trained, command):
        arguments, output = command
        status, out, _ = pixelcnnpp(*arguments)
        assert status == 0
        assert "Scored 11 of 13 pictures" in out
        assert len(list(output.glob("scores-0000[0-3].csv"))) == 4
        listed = list(rows(output))
        assert [row["path"] for row in listed] == sorted(row["path"] for row in listed)
        good = [row for row in listed if not row["error"]]
        images = tiny.tiny_split(parts.COUNT).images
        probabilities = trained.class_probabilities(images)
        bits = trained.bits_per_dim(images)
        assert [int(row["predicted"]) for row in good] == probabilities.argmax(axis=1).tolist()
        assert [float(row["bits_per_dim"]) for row in good] == pytest.approx(bits, abs=1e-4)
        received = [[float(row[f"p_{label}"]) for label in range(3)] for row in good]
        assert np.array(received) == pytest.approx(probabilities, abs=1e-4)
        summary = json.loads((output / "summary.json").read_text())
        assert summary["pictures"] == 13
        assert summary["unreadable"] == 2
        assert list(summary["classes"]) == ["dark", "grey", "bright"]
        counts = np.bincount(probabilities.argmax(axis=1), minlength=3).tolist()
        assert list(summary["classes"].values()) == counts
        assert summary["bits_per_dim"] == pytest.approx(bits.mean(), abs=1e-4)

    def test_bad_pictures_are_marked(self, finished, command):
        bad = {row["path"]: row for row in rows(command[1]) if row["error"]}
        assert set(bad) == set(parts.BAD)
        assert bad[parts.BAD[1]]["error"] == "not a PNG or JPEG picture"
        for row in bad.values():
            assert row["predicted"] == "-1"
            assert [row[name] for name in ("bits_per_dim", "p_0", "p_1", "p_2")] == [""] * 4

    def test_only_bad_pictures(self, pixelcnnpp, savedmodel, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a.png").write_bytes(b"no picture")
        output = tmp_path / "scores"
        command = ("savedmodel", "score", savedmodel, "--data", tmp_path / "data")
        status, out, _ = pixelcnnpp(*command, "--output", output)
        assert status == 0
        assert "Scored 0 of 1 pictures" in out
        assert json.loads((output / "summary.json").read_text())["bits_per_dim"] is None

    def test_any_file_name(self, exported, data, tmp_path):
        name = os.fsdecode(b'a\n"b\xff\xe2\x80\xa8c.png')
        try:
            shutil.copy(data / "00.png", data / name)
        except OSError:
            pytest.skip("this disk has no such names")
        job = ScoringJob(data, tmp_path / "scores", exported)
        assert list(write_parts(job, job.start(), exported)) == [0]
        assert job.start() == []
        assert job.finish()["pictures"] == 14


class TestGoingOn:
    @pytest.mark.parametrize("cut", [-1, -20, -2000, 0], ids=["end", "row", "header", "all"])
    def test_after_lost_and_torn_parts(self, pixelcnnpp, command, finished, cut):
        arguments, output = command
        (output / "scores-00001.csv").unlink()
        torn = output / "scores-00002.csv"
        torn.write_bytes(torn.read_bytes()[:cut] if cut > -2000 else b"path,predicted\r\n")
        (output / "summary.json").unlink()
        kept = parts.unchanged(output)
        status, out, _ = pixelcnnpp(*arguments)
        assert status == 0
        assert "2 of 4 parts are there already" in out
        assert parts.contents(output) == finished
        for name in ("scores-00000.csv", "scores-00003.csv"):
            assert parts.unchanged(output)[name] == kept[name]

    def test_after_lost_rows(self, pixelcnnpp, command, finished):
        torn = command[1] / "scores-00000.csv"
        torn.write_bytes(b"".join(torn.read_bytes().splitlines(keepends=True)[:-1]))
        assert pixelcnnpp(*command[0])[0] == 0
        assert parts.contents(command[1]) == finished

    def test_after_an_interruption(self, exported, data, finished, tmp_path, monkeypatch):
        job = ScoringJob(data, tmp_path / "other", exported, part_size=4, batch_size=3)
        write = job.write

        def interrupted(model, block, path):
            write(model, block, path)
            if block == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(job, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(write_parts(job, job.start(), exported))
        assert {path.name for path in job.output.iterdir()} == {
            "job.json",
            "scores-00000.csv",
            "scores-00001.csv",
        }
        monkeypatch.undo()
        assert list(write_parts(job, job.start(), exported)) == [2, 3]
        job.finish()
        assert parts.contents(job.output) == finished

    def test_where_the_data_lies_does_not_matter(self, exported, data, finished, tmp_path):
        copy = shutil.copytree(data, tmp_path / "elsewhere" / "copy")
        job = ScoringJob(copy, tmp_path / "other", exported, part_size=4, batch_size=3)
        list(write_parts(job, job.start(), exported))
        job.finish()
        assert parts.contents(job.output) == finished


def change_a_picture(data):
    Image.new("L", (4, 4), 200).save(data / "00.png")


def add_a_picture(data):
    shutil.copy(data / "00.png", data / "zz.png")


class TestRefusals:
    @pytest.mark.parametrize("change", [change_a_picture, add_a_picture])
    def test_other_pictures(self, pixelcnnpp, command, finished, data, change):
        change(data)
        one_line(pixelcnnpp(*command[0]), str(command[1]), "(pictures)", "another folder")
        assert parts.contents(command[1]) == finished

    def test_other_options(self, pixelcnnpp, command, finished):
        one_line(pixelcnnpp(*command[0], "--part-size", 5), "(part_size)")
        assert parts.contents(command[1]) == finished

    def test_other_model(self, pixelcnnpp, command, finished, savedmodel, tmp_path):
        copy = shutil.copytree(savedmodel, tmp_path / "savedmodel")
        names = copy / "1" / "assets" / "class_names.txt"
        names.write_text(names.read_text().upper())
        arguments = [copy if value == savedmodel else value for value in command[0]]
        one_line(pixelcnnpp(*arguments), "(model)")

    def test_folder_of_something_else(self, pixelcnnpp, command):
        arguments, output = command
        output.mkdir()
        (output / "scores-00000.csv").write_text("mine\n")
        one_line(pixelcnnpp(*arguments), str(output), "no job.json")
        assert parts.contents(output) == {"scores-00000.csv": b"mine\n"}

    def test_file_as_output(self, pixelcnnpp, command):
        command[1].write_text("mine\n")
        one_line(pixelcnnpp(*command[0]), str(command[1]), "not a folder")

    def test_damaged_description(self, pixelcnnpp, command, finished):
        (command[1] / "job.json").write_text("{")
        one_line(pixelcnnpp(*command[0]), "job.json", "damaged")

    def test_no_pictures(self, pixelcnnpp, savedmodel, tmp_path):
        output = tmp_path / "scores"
        command = ("savedmodel", "score", savedmodel, "--output", output, "--data")
        one_line(pixelcnnpp(*command, tmp_path / "none"), "No such folder")
        (tmp_path / "empty").mkdir()
        one_line(pixelcnnpp(*command, tmp_path / "empty"), "no PNG or JPEG")
        assert not output.exists()

    def test_workers_without_ray(self, pixelcnnpp, command, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        one_line(pixelcnnpp(*command[0], "--workers", 2), "keras-pixelcnnpp[ray]")
        assert not command[1].exists()
