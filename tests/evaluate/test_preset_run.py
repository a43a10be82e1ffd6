"""Tests of `evaluate … --preset` and `evaluate all`."""

import re
import shlex

import pytest
import tiny
from command_line import done, one_line

from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.files import read_json
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.run import RunFolder

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def test_a_preset_is_measured_as_a_run(pixelcnnpp, preset, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tiny.save_npz(tmp_path / "data.npz")
    command = ("evaluate", "classification", "--preset", preset, "--data", data)
    done(pixelcnnpp(*command, "--split", "validation"))
    run = RunFolder("runs/tiny").measured_on(data)
    images = load_dataset(str(data)).images("validation", with_labels=True)
    report = read_json(run.reports / "classification.json")["models"]["pixelcnnpp"]
    right = trained.class_probabilities(images.images).argmax(axis=1) == images.labels
    assert report["accuracy"] == right.mean()
    bits = trained.bits_per_dim(images.images).mean()
    assert report["bits_per_dim"] == pytest.approx(bits, abs=1e-5)
    # The second command uses the same folder, and other commands accept the run.
    done(pixelcnnpp("evaluate", "evidence", *command[2:]))
    assert (run.reports / "evidence.json").exists()
    assert "index.html" in done(pixelcnnpp("evaluate", "report", "--run", run.path))
    tiny.tiny_model(class_names=tiny.NAMES).save_to_preset(tmp_path / "tiny")
    command = ("evaluate", "ood", "--preset", tmp_path / "tiny", "--data", data)
    one_line(pixelcnnpp(*command), "runs/tiny contains another run", "--output")
    (tmp_path / "tiny" / "model.weights.h5").unlink()
    (tmp_path / "tiny" / "metadata.json").unlink()
    one_line(pixelcnnpp(*command), "runs/tiny contains another run", "--output")


@pytest.mark.slow
def test_all(pixelcnnpp, preset, tmp_path):
    """The command writes all reports that apply, and the page."""
    data, output = tiny.save_npz(tmp_path / "data.npz"), tmp_path / "run"
    command = ("evaluate", "all", "--preset", preset, "--data", data, "--output", output)
    out = done(pixelcnnpp(*command))
    reports = {path.name for path in RunFolder(output).measured_on(data).reports.iterdir()}
    for name in ("likelihood", "classification", "generation", "evidence", "ood"):
        assert f"{name}.json" in reports
    assert "index.html" in reports
    # The commands that the page lists for missing results work.
    advice = re.findall(r"Not measured yet: .*?\. pixelcnnpp (.*)", out)
    assert [shlex.split(command)[0] for command in advice] == ["train-baseline"]


@pytest.mark.slow
def test_images_without_splits_are_all_measured(pixelcnnpp, trained, tmp_path, monkeypatch):
    """The training images are not there, and a folder with the name of their data is another."""
    monkeypatch.chdir(tmp_path)
    trained.save_to_preset("mine", {"data": "photos", "training": {"horizontal_flip": True}})
    for index, (image, label) in enumerate(zip(tiny.IMAGES, tiny.LABELS, strict=True)):
        file = tmp_path / "photos" / tiny.NAMES[label] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png_bytes(image))
    (tmp_path / "photos" / "dark" / "bad.png").touch()
    common = ("--preset", "mine", "--data", "photos")
    out = done(pixelcnnpp("evaluate", "classification", *common))
    assert "bad.png" in re.search("Skipped 1 files that cannot be read: .*", out)[0]
    assert "Comparisons with training images are omitted" in out
    BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1).save("runs/mine/baseline.keras")
    done(pixelcnnpp("evaluate", "all", *common))
    reports = RunFolder("runs/mine").measured_on("photos").reports
    report = read_json(reports / "classification.json")
    assert (report["count"], report["split"]) == (12, "all")
    assert report["pixel_histogram_bits_per_dim"] is None
    generation = read_json(reports / "generation.json")
    assert "memorization" not in generation
    of_all = generation["metrics"]["all"]
    assert of_all["kid"] is not None
    assert set(of_all["real_reference"].values()) == {None}
    assert (reports / "index.html").exists()


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ((), "Expected either --run FOLDER, or --preset NAME and --data DATA"),
        (("--preset", "digits"), "--data DATA"),
        (("--preset", "digits", "--run", "runs/a", "--data", "digits"), "either"),
        (("--run", "runs/a", "--output", "runs/b"), "--output is for --preset"),
        (("--run", "digits"), "digits is the name of a preset"),
    ],
)
def test_mistakes(pixelcnnpp, options, fragment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one_line(pixelcnnpp("evaluate", "classification", *options), fragment)
