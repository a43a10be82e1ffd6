"""Tests of `score` and of `sample` into a folder, with Ray, and when resumed."""

import importlib.util
import os
import signal
import subprocess
import sys

import hostile
import numpy as np
import pytest
import tiny
from command_line import done, one_line, read_rows
from PIL import Image

from keras_pixelcnnpp.commands.sampling import sample_many
from keras_pixelcnnpp.commands.scoring import score_folder
from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.data.images import read_image
from keras_pixelcnnpp.tiled.model import TiledModel
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once

COUNT = 11
BAD = {
    "02 bad.png": "cannot be read",
    "sub, more/99.jpg": "not an image",
    "sub, more/huge.png": "exceeds limit",
}


@pytest.fixture(scope="session")
def model(trained, archive):
    """The model `trained` from a file."""
    return TrainedModel(trained, str(archive), {})


@pytest.fixture
def data(tmp_path):
    """Images of `tiny_split` in two folders, damaged images, and other files."""
    folder = tmp_path / "data"
    (folder / "sub, more").mkdir(parents=True)
    for number, pixels in enumerate(tiny.tiny_split(COUNT).images):
        subfolder = "sub, more" if number >= 6 else ""
        Image.fromarray(pixels[..., 0]).save(folder / subfolder / f"{number:02d}.png")
    content = (folder / "02.png").read_bytes()[:50]
    contents = (content, b"none", hostile.png(60_000, 60_000))
    for name, content in zip(BAD, contents, strict=True):
        (folder / name).write_bytes(content)
    for name in (".hidden.png", "notes.txt"):
        (folder / name).touch()
    return folder


class TestScore:
    def test_rows_are_those_of_the_model(self, pixelcnnpp, model, trained, data, tmp_path):
        output = tmp_path / "scores.csv"
        command = ("score", "--model", model.source, "--data", data, "--output", output)
        status, out, err = pixelcnnpp(*command)
        assert f"scored {COUNT} of {COUNT + len(BAD)} images" in out
        one_line((status, out, err), f"{len(BAD)} of {COUNT + len(BAD)} images cannot be read")
        rows = read_rows(output)
        assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
        good = [row for row in rows if not row["error"]]
        images = tiny.tiny_split(COUNT).images
        probabilities = trained.class_probabilities(images)
        bits = trained.bits_per_dim(images)
        mean = float(out.split("Mean: ")[1].split()[0])
        assert mean == pytest.approx(bits.mean(), abs=6e-4)  # printed with three decimals
        assert [int(row["predicted"]) for row in good] == probabilities.argmax(axis=1).tolist()
        names = [tiny.NAMES[label] for label in probabilities.argmax(axis=1)]
        assert [row["predicted_name"] for row in good] == names
        assert [float(row["bits_per_dim"]) for row in good] == pytest.approx(bits, abs=1e-4)
        received = [[float(row[f"p_{label}"]) for label in range(3)] for row in good]
        assert np.array(received) == pytest.approx(probabilities, abs=1e-4)
        for row in rows:
            if row["error"]:
                assert BAD[row["path"]] in row["error"]
                assert (row["predicted"], row["predicted_name"], row["p_0"]) == ("-1", "", "")
        one_line(pixelcnnpp(*command), "scores.csv exists", "--resume")
        output.write_text("old")
        pixelcnnpp(*command, "--overwrite")
        assert read_rows(output) == rows

    def test_keeps_the_file_that_would_be_beside_the_scores(
        self, pixelcnnpp, model, data, tmp_path
    ):
        """Also if it is an input; it is continued or replaced together with the scores."""
        output, beside = tmp_path / "scores.csv", tmp_path / "scores.csv.json"
        command = ("score", "--model", model.source, "--data", data, "--output", output)
        beside.write_text('{"of": "somebody else"}')
        one_line(pixelcnnpp(*command), "scores.csv.json exists", "--overwrite")
        one_line(pixelcnnpp(*command, "--resume"), "scores of another model or of other images")
        given = ("--map", beside, "--overwrite")
        one_line(pixelcnnpp(*command, *given), "scores.csv.json is an input of this command")
        assert beside.read_text() == '{"of": "somebody else"}'
        assert not output.exists()
        pixelcnnpp(*command, "--overwrite")
        rows = output.read_bytes()
        output.unlink()  # as if killed after the first file
        pixelcnnpp(*command, "--resume")
        assert output.read_bytes() == rows

    def test_of_a_model_without_classes(self, data, tmp_path):
        model = tiny.untrained_pixelcnn(num_classes=0, conditioning="none")
        output = tmp_path / "scores.csv"
        bits = score_folder(TrainedModel(model, "tiny", {}), data, output)
        expected = model.bits_per_dim(tiny.tiny_split(COUNT).images)
        assert bits[np.isfinite(bits)] == pytest.approx(expected, abs=1e-4)
        rows = read_rows(output)
        assert [*rows[0]] == ["path", "predicted", "predicted_name", "bits_per_dim", "error"]
        assert {(row["predicted"], row["predicted_name"]) for row in rows} == {("-1", "")}

    def test_images_that_are_larger_than_the_model(self, pixelcnnpp, model, trained, tmp_path):
        rng, data = np.random.default_rng(0), tmp_path / "frames"
        data.mkdir()
        frames = [rng.integers(0, 256, size).astype("uint8") for size in ((9, 6), (4, 4), (3, 9))]
        for number, pixels in enumerate(frames):
            Image.fromarray(pixels).save(data / f"{number}.png")
        output = tmp_path / "scores.csv"
        command = ("score", "--model", model.source, "--data", data, "--output", output)
        status, _, _ = pixelcnnpp(*command, "--tiled")
        assert status == 2  # the last image is too small
        rows = read_rows(output)
        scores = TiledModel(trained).bits_per_dim(frames[0][None])
        assert float(rows[0]["bits_per_dim"]) == pytest.approx(scores[0], abs=1e-4)
        scores = trained.bits_per_dim(frames[1][None])
        assert float(rows[1]["bits_per_dim"]) == pytest.approx(scores[0], abs=1e-4)
        assert "at least 4×4 pixels, the size of the model. Received: 3×9" in rows[2]["error"]

    def test_goes_on_wherever_it_was_broken_off(self, model, data, tmp_path):
        try:  # a name that is not UTF-8, with line breaks and quotes
            (data / os.fsdecode(b'a\n"b\xff\xe2\x80\xa8c.png')).write_bytes(b"no image")
        except OSError:
            pytest.skip("this disk has no such names")
        output = tmp_path / "scores.csv"
        score_folder(model, data, output, block_size=4)
        whole = output.read_bytes()
        for length in range(0, len(whole), 37):
            output.write_bytes(whole[:length])
            bits = score_folder(model, data, output, resume=True, block_size=4)
            assert output.read_bytes() == whole
        assert np.isfinite(bits).sum() == COUNT
        np.testing.assert_array_equal(score_folder(model, data, output, resume=True), bits)

    def test_refuses(self, model, data, tmp_path):
        output = tmp_path / "scores.csv"
        with pytest.raises(UserError, match="does not exist"):
            score_folder(model, tmp_path / "none", output)
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="no image file"):
            score_folder(model, tmp_path / "empty", output)
        assert not output.exists()
        output.write_text("mine\n")
        with pytest.raises(UserError, match="scores of another model or of other images"):
            score_folder(model, data, output, resume=True)
        assert output.read_text() == "mine\n"
        output.unlink()
        score_folder(model, data, output)
        # Weights that no image shows, and images that are read in another way.
        other = model._replace(model=tiny.untrained_pixelcnn(class_names=tiny.NAMES))
        other.model.set_weights(model.model.get_weights())
        other.model.posterior.class_bias.assign([0, 0, 1e-6])
        for one in (other, model._replace(reading={"white_level": 4095})):
            with pytest.raises(UserError, match="scores of another model"):
                score_folder(one, data, output, resume=True)
        (data / "03.png").write_bytes((data / "04.png").read_bytes())
        with pytest.raises(UserError, match="of other images"):
            score_folder(model, data, output, resume=True)


class TestSample:
    def test_images_are_those_of_the_model(self, pixelcnnpp, model, trained, tmp_path):
        command = ("sample", "--model", model.source, "--output", tmp_path)
        command += ("--label", "bright", "--label", 0, "--label", "dark", "--count", 2)
        assert "Wrote 6 images of bright, dark, dark to" in done(pixelcnnpp(*command, "--seed", 7))
        # With the previous seed.
        assert "Wrote 0 images of bright, dark, dark to" in done(pixelcnnpp(*command, "--resume"))
        levels = trained.sample([2, 2, 0, 0, 0, 0], seed=7)
        names = [f"bright_image_0{number}.png" for number in (1, 2)]
        names += [f"dark_image_0{number}.png" for number in (1, 2, 3, 4)]
        assert {path.name for path in tmp_path.glob("*.png")} == set(names)
        for name, pixels in zip(names, levels[..., 0], strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)), pixels)

    def test_goes_on_and_blocks_do_not_repeat(self, model, tmp_path):
        labels, options = np.zeros(96, int), {"seed": 1, "block_size": 32}
        sample_many(model, labels, tmp_path, **options)
        files = sorted(tmp_path.glob("*.png"))
        first = [file.read_bytes() for file in files]
        blocks = [first[:32], first[32:64], first[64:]]
        assert blocks[0] != blocks[1] != blocks[2] != blocks[0]
        together = model.model.sample(labels, seed=1)
        np.testing.assert_array_equal(
            [read_image(f, model.model.image_shape) for f in files], together
        )
        files[40].unlink()
        times = [file.stat().st_mtime_ns for file in files[:32]]
        sample_many(model, labels, tmp_path, resume=True, **options)
        assert [file.read_bytes() for file in files] == first
        assert [file.stat().st_mtime_ns for file in files[:32]] == times

    def test_does_not_mix_samples(self, model, tmp_path):
        """Samples do not mix with those of another model or seed, or with other files."""
        labels, other = np.zeros(2, int), tmp_path / "dark_image_25.png"
        other.touch()
        for resume in (False, True):
            with pytest.raises(UserError, match=r"such as dark_image_25\.png\. Choose"):
                sample_many(model, labels, tmp_path, resume=resume)
        assert [*tmp_path.iterdir()] == [other]
        other.unlink()
        assert sample_many(model, labels, tmp_path, resume=True) == 2
        assert sample_many(model, labels, tmp_path, resume=True) == 0
        with pytest.raises(UserError, match="samples already"):
            sample_many(model, labels, tmp_path)
        other = model._replace(model=tiny.untrained_pixelcnn(class_names=tiny.NAMES))
        for one, given, options, name in (
            (model, [0] * 2, {"seed": 1}, "seed"),
            (model, [0] * 2, {"how": {"temperature": 0.9}}, "temperature"),
            (model, [0] * 3, {}, "count"),
            (model, [1] * 2, {}, "label"),
            (other, [0] * 2, {}, "model"),
        ):
            with pytest.raises(UserError, match=f"samples with another {name}. Choose"):
                sample_many(one, np.array(given), tmp_path, resume=True, **options)


# Dies while it writes the rows of the second block.
DIES_WRITING = """
import functools, os, signal
from keras_pixelcnnpp.commands import scoring

write_cells, calls = scoring.write_cells, []

def write_or_die(file, rows):
    calls.append(rows)
    if len(calls) == 2:
        file.write(",".join(map(str, rows[0]))[:12])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    write_cells(file, rows)

scoring.write_cells = write_or_die
scoring.score_folder = functools.partial(scoring.score_folder, block_size=4)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_job_goes_on(model, data, tmp_path):
    """The file is then that of a job that was not killed."""

    def command(*more, before=""):
        words = [sys.executable, "-c", f"{before}\nimport pixelcnnpp; pixelcnnpp.main()", "score"]
        words += ["--model", model.source, "--data", data, "--output", output, *more]
        return subprocess.run(words, check=False, capture_output=True, text=True)

    output, alone = tmp_path / "a.csv", tmp_path / "alone.csv"
    score_folder(model, data, alone)
    assert command(before=DIES_WRITING).returncode == -signal.SIGKILL
    assert alone.read_bytes().startswith(output.read_bytes())
    assert output.read_bytes().count(b"\n") == 5  # the header and the first block
    result = command("--resume")
    assert result.returncode == 2  # for the damaged images
    assert f"scored {COUNT} of {COUNT + len(BAD)} images" in result.stdout
    assert output.read_bytes() == alone.read_bytes()


def test_workers_without_ray(pixelcnnpp, model, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ("score", "--model", model.source, "--data", data, "--output", tmp_path / "a.csv")
    one_line(pixelcnnpp(*command, "--workers", 2), "pip install 'ray")
    assert not (tmp_path / "a.csv").exists()


# The first worker that gets a block dies.
LOSES_A_WORKER = """
import os, signal
from pathlib import Path
from keras_pixelcnnpp.commands import scoring

whole = scoring._score

def score(data, *given):
    killed = data.parent / "killed"
    if not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(data, *given)

scoring._score = score
import pixelcnnpp; pixelcnnpp.main()
"""


@pytest.mark.extras
@pytest.mark.slow
@pytest.mark.skipif(
    # Not imported at the top, where warnings are errors.
    importlib.util.find_spec("ray") is None,
    reason="needs the extra `ray`",
)
def test_with_ray(model, data, tmp_path):
    """Results are those of one process, also for relative paths, which workers have not."""

    def command(*words, program="import pixelcnnpp; pixelcnnpp.main()", **environ):
        words = [sys.executable, "-c", program, *words, "--model", model.source, "--workers", "2"]
        how = {"capture_output": True, "text": True, "cwd": data.parent}
        return subprocess.run(words, check=False, env=os.environ | environ, **how)

    score_folder(model, data, tmp_path / "alone.csv")
    result = command("score", "--data", "data", "--output", "a.csv", program=LOSES_A_WORKER)
    assert (tmp_path / "killed").exists()
    assert result.returncode == 2  # for the damaged images
    assert f"scored {COUNT} of {COUNT + len(BAD)} images" in result.stdout
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "alone.csv").read_text()
    sample_many(model, np.zeros(101, int), tmp_path / "one", seed=3)
    words = ("sample", "--label", "0", "--count", "101", "--seed", "3", "--output")
    command(*words, "two").check_returncode()
    one, two = (sorted((tmp_path / name).glob("*.png")) for name in ("one", "two"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
    failed = command(*words, "no", RAY_ADDRESS="127.0.0.1:9")
    assert "error: The Ray cluster at RAY_ADDRESS=127.0.0.1:9 cannot be reached" in failed.stderr
