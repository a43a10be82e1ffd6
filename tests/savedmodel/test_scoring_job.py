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

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import ExportedModel
from keras_pixelcnnpp.savedmodel.jobs import ScoringJob
from keras_pixelcnnpp.savedmodel.parts import write_parts

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


@pytest.fixture
def data(tmp_path):
    return parts.write_pictures(tmp_path / "data")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "scores"


@pytest.fixture
def score(exported, data, output):
    """Scores the pictures, or goes on with it; returns which blocks were done."""

    def score(data=data, output=output, model=exported, part_size=4):
        job = ScoringJob(data, output, model, part_size, batch_size=3)
        done = list(write_parts(job, job.start(), model))
        job.finish()
        return done

    return score


@pytest.fixture
def finished(score, output):
    """What is there when nothing was broken off."""
    assert score() == [0, 1, 2, 3]
    return parts.contents(output)


def rows(output):
    for part in sorted(output.glob("*.csv")):
        with part.open(newline="") as file:
            yield from csv.DictReader(file)


class TestScores:
    def test_are_those_of_the_model(self, trained, finished, output):
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
        summary = json.loads(finished["summary.json"])
        counts = np.bincount(probabilities.argmax(axis=1), minlength=3).tolist()
        assert summary["pictures"] == 13
        assert summary["unreadable"] == 2
        assert summary["classes"] == dict(zip(("dark", "grey", "bright"), counts, strict=True))
        assert summary["bits_per_dim"] == pytest.approx(bits.mean(), abs=1e-4)

    def test_bad_pictures_are_marked(self, finished, output):
        bad = {row["path"]: row for row in rows(output) if row["error"]}
        assert set(bad) == set(parts.BAD)
        assert bad[parts.BAD[1]]["error"] == "not a PNG or JPEG picture"
        for row in bad.values():
            assert row["predicted"] == "-1"
            assert [row[name] for name in ("bits_per_dim", "p_0", "p_1", "p_2")] == [""] * 4

    def test_only_bad_pictures(self, score, output, tmp_path):
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
        assert score(data=tmp_path / "bad") == [0]
        summary = json.loads((output / "summary.json").read_text())
        assert summary["unreadable"] == 1
        assert summary["bits_per_dim"] is None

    def test_any_file_name(self, score, data, output):
        name = os.fsdecode(b'a\n"b\xff\xe2\x80\xa8c.png')
        try:
            shutil.copy(data / "00.png", data / name)
        except OSError:
            pytest.skip("this disk has no such names")
        assert score() == [0, 1, 2, 3]
        assert score() == []
        assert json.loads((output / "summary.json").read_text())["pictures"] == 14


class TestGoingOn:
    @pytest.mark.parametrize("cut", [-1, -20, None, 0], ids=["end", "row", "header", "all"])
    def test_after_lost_and_torn_parts(self, score, output, finished, cut):
        (output / "scores-00001.csv").unlink()
        torn = output / "scores-00002.csv"
        torn.write_bytes(b"path,predicted\r\n" if cut is None else torn.read_bytes()[:cut])
        (output / "summary.json").unlink()
        kept = parts.unchanged(output)
        assert score() == [1, 2]
        assert parts.contents(output) == finished
        for name in ("scores-00000.csv", "scores-00003.csv"):
            assert parts.unchanged(output)[name] == kept[name]

    def test_after_lost_rows(self, score, output, finished):
        torn = output / "scores-00000.csv"
        torn.write_bytes(b"".join(torn.read_bytes().splitlines(keepends=True)[:-1]))
        assert score() == [0]
        assert parts.contents(output) == finished

    def test_after_an_interruption(self, score, output, finished, tmp_path, monkeypatch):
        def interrupted(job, exported, block, path):
            write(job, exported, block, path)
            if block == 2:
                raise KeyboardInterrupt

        write = ScoringJob.write
        other = tmp_path / "other"
        with monkeypatch.context() as patch:
            patch.setattr(ScoringJob, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                score(output=other)
        names = {path.name for path in other.iterdir()}
        assert names == {"job.json", "scores-00000.csv", "scores-00001.csv"}
        assert score(output=other) == [2, 3]
        assert parts.contents(other) == finished

    def test_where_the_data_lies_does_not_matter(self, score, data, finished, tmp_path):
        copy = shutil.copytree(data, tmp_path / "elsewhere" / "copy")
        score(data=copy, output=tmp_path / "other")
        assert parts.contents(tmp_path / "other") == finished


def change_a_picture(data):
    Image.new("L", (4, 4), 200).save(data / "00.png")


def add_a_picture(data):
    shutil.copy(data / "00.png", data / "zz.png")


class TestRefusals:
    @pytest.mark.parametrize("change", [change_a_picture, add_a_picture])
    def test_other_pictures(self, score, data, output, finished, change):
        change(data)
        with pytest.raises(UserError, match=r"other inputs \(pictures\): choose another folder"):
            score()
        assert parts.contents(output) == finished

    def test_other_options(self, score, output, finished):
        with pytest.raises(UserError, match=r"\(part_size\)"):
            score(part_size=5)
        assert parts.contents(output) == finished

    def test_other_model(self, score, finished, savedmodel, tmp_path):
        copy = shutil.copytree(savedmodel, tmp_path / "savedmodel")
        names = copy / "1" / "assets" / "class_names.txt"
        names.write_text(names.read_text().upper())
        with pytest.raises(UserError, match=r"\(model\)"):
            score(model=ExportedModel(copy))

    def test_folder_of_something_else(self, score, output):
        output.mkdir()
        (output / "scores-00000.csv").write_text("mine\n")
        with pytest.raises(UserError, match=r"no job\.json"):
            score()
        assert parts.contents(output) == {"scores-00000.csv": b"mine\n"}

    def test_file_as_output(self, score, output):
        output.write_text("mine\n")
        with pytest.raises(UserError, match="not a folder"):
            score()

    def test_damaged_description(self, score, output, finished):
        (output / "job.json").write_text("{")
        with pytest.raises(UserError, match=r"job\.json is damaged"):
            score()

    def test_no_pictures(self, score, output, tmp_path):
        with pytest.raises(UserError, match="No such folder"):
            score(data=tmp_path / "none")
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="no PNG or JPEG"):
            score(data=tmp_path / "empty")
        assert not output.exists()


class TestCommand:
    def test_scores_and_goes_on(self, pixelcnnpp, savedmodel, data, output, finished):
        (output / "scores-00002.csv").unlink()
        command = ("savedmodel", "score", savedmodel, "--data", data, "--output", output)
        status, out, _ = pixelcnnpp(*command, "--part-size", 4, "--batch-size", 3)
        assert status == 0
        assert "3 of 4 parts are there already" in out
        assert "Scored 11 of 13 pictures" in out
        assert parts.contents(output) == finished
        one_line(pixelcnnpp(*command, "--part-size", 5), str(output), "(part_size, batch_size)")

    def test_workers_without_ray(self, pixelcnnpp, savedmodel, data, output, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        command = ("savedmodel", "score", savedmodel, "--data", data, "--output", output)
        one_line(pixelcnnpp(*command, "--workers", 2), "keras-pixelcnnpp[ray]")
        assert not output.exists()
