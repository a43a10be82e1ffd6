import csv
import json
import os
import shutil

import numpy as np
import parts
import pytest
import tiny
from PIL import Image

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import ExportedModel, sample_exported
from keras_pixelcnnpp.savedmodel.jobs import SamplingJob, ScoringJob
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
        names = [("dark", "grey", "bright")[label] for label in probabilities.argmax(axis=1)]
        assert [row["class"] for row in good] == names
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
            assert [row[name] for name in ("class", "bits_per_dim", "p_0", "p_1", "p_2")] == [
                ""
            ] * 5

    def test_half_written_pictures_are_left_out(self, score, data, output, finished):
        shutil.copytree(data / "sub, more", data / ".pixelcnnpp-x1y2" / "new")
        assert score() == []

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


OPTIONS = ("--label", "bright", "--label", "dark", "--count", 5, "--seed", 3, "--batch-size", 4)
LABELS = [2] * 5 + [0] * 5


@pytest.fixture
def draw(exported):
    """Draws pictures, or goes on with it; returns which blocks were done."""

    def draw(output, labels=LABELS, **options):
        options = {"seed": 3, "batch_size": 4, **options}
        job = SamplingJob(labels, output, exported, **options)
        done = list(write_parts(job, job.start(), exported))
        job.finish()
        return done

    return draw


def pictures(output):
    """The pictures of all parts: bytes by name."""
    found = [(path.name, path.read_bytes()) for path in output.glob("part-*/*.png")]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_are_those_of_the_command_without_parts(pixelcnnpp, savedmodel, tmp_path):
    command = ("savedmodel", "sample", savedmodel, *OPTIONS, "--output")
    assert pixelcnnpp(*command, tmp_path / "together")[0] == 0
    output = tmp_path / "parts"
    status, out, _ = pixelcnnpp(*command, output, "--workers", 1)
    assert status == 0
    assert f"Wrote 10 pictures to {output}, in 3 parts" in out
    assert pictures(output) == parts.contents(tmp_path / "together")
    assert len(list(output.glob("part-00002/*"))) == 2
    summary = json.loads((output / "summary.json").read_text())
    assert summary == {"pictures": 10, "classes": {"dark": 5, "grey": 0, "bright": 5}}


def test_names_of_mixed_labels(exported, tmp_path):
    """The files that `ClassSamples.write` would write, cut where the batches are."""
    labels = np.array([2, 0, 2, 2, 0, 1, 2])
    samples = sample_exported(exported, labels, seed=1, batch_size=3)
    samples.write(tmp_path / "together")
    job = SamplingJob(labels, tmp_path / "parts", exported, seed=1, batch_size=3)
    for block in reversed(job.start()):
        job.write_part(exported, block)
    assert pictures(job.output) == parts.contents(tmp_path / "together")


def test_goes_on_after_lost_and_torn_parts(draw, tmp_path):
    output = tmp_path / "parts"
    assert draw(output) == [0, 1, 2]
    finished = parts.contents(output)
    (output / "part-00000" / "bright_image_02.png").unlink()
    torn = output / "part-00002" / "dark_image_05.png"
    torn.write_bytes(torn.read_bytes()[:-3])
    kept = parts.unchanged(output)
    assert draw(output) == [0, 2]
    assert parts.contents(output) == finished
    same = {name for name, facts in parts.unchanged(output).items() if kept.get(name) == facts}
    assert same == {name for name in finished if name.startswith("part-00001/")}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"seed": 4}, "seed"),
        ({"temperature": 0.5}, "temperature"),
        ({"labels": [0] * 10}, "labels"),
        ({"batch_size": 5}, "batch_size"),
    ],
)
def test_other_inputs_are_refused(draw, tmp_path, options, name):
    draw(tmp_path / "parts")
    finished = parts.contents(tmp_path / "parts")
    with pytest.raises(UserError, match=rf"\({name}\): choose another folder"):
        draw(tmp_path / "parts", **options)
    assert parts.contents(tmp_path / "parts") == finished


def test_pictures_without_parts_are_not_mixed_in(exported, draw, tmp_path):
    sample_exported(exported, [0, 1]).write(tmp_path / "samples")
    with pytest.raises(UserError, match=r"no job\.json"):
        draw(tmp_path / "samples")
