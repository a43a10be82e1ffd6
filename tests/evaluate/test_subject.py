"""Tests of how a model, its images and the folder of results are chosen, and of `evaluate all`."""

import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from command_line import done, one_line

from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.evaluate.measurements import DataOptions
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import read_json, write_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


@pytest.mark.parametrize("name", ["preset", "model"])
def test_a_model_without_a_run(pixelcnnpp, preset, archive, trained, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    data = tiny.save_npz(tmp_path / "data.npz")
    model = (f"--{name}", {"preset": preset, "model": archive}[name])
    one_line(pixelcnnpp("evaluate", "classification", *model), "--data")
    model = (*model, "--data", data)
    done(pixelcnnpp("evaluate", "classification", *model, "--split", "validation"))
    images = load_dataset(str(data)).images("validation", with_labels=True)
    folder = Path("reports", {"preset": "tiny", "model": "model"}[name], "data-validation")
    report = read_json(folder / "classification.json")["models"]["pixelcnnpp"]
    right = trained.class_probabilities(images.images).argmax(axis=1) == images.labels
    assert report["accuracy"] == right.mean()
    bits = trained.bits_per_dim(images.images).mean()
    assert report["bits_per_dim"] == pytest.approx(bits, abs=1e-5)
    assert (folder / "index.html").exists()


def test_splits_do_not_overwrite_one_another(run):
    """Each split and each data set has a folder of results."""

    def folder_of(**options):
        return Subject(DataOptions(run=run.path, **options)).folder

    assert folder_of() == folder_of(split="validation") == run.reports
    assert folder_of(split="test") == run.reports / "test"
    write_json(run.reports / "test" / "likelihood.json", {"data": None})
    data = str(tiny.save_npz(run.path / "other.npz"))
    assert folder_of(data=data) == run.reports / "other"
    assert folder_of(data=data, split="test") == run.reports / "other-test"
    with pytest.raises(UserError, match="test has results on other images"):
        folder_of(data=str(tiny.save_npz(run.path / "test.npz")))


def test_output_never_overwrites_a_model(pixelcnnpp, run, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"months of work")
    command = ("--run", run.path, "--split", "test", "--output", tmp_path, "--count", 4)
    done(pixelcnnpp("evaluate", "likelihood", *command))
    assert (tmp_path / "model.keras").read_bytes() == b"months of work"
    report = read_json(tmp_path / "test" / "likelihood.json")
    assert (report["split"], report["data"]) == ("test", None)
    assert not (tmp_path / "config.json").exists()


def test_a_result_older_than_the_models_is_outdated(pixelcnnpp, run):
    """A CNN is none of the models of a result that does not depend on it."""
    cnn = run.baseline_keras.read_bytes()
    run.baseline_keras.unlink()

    def page_after(name, *options):
        done(pixelcnnpp("evaluate", name, "--run", run.path, *options))
        return (run.reports / "index.html").read_text(encoding="utf-8")

    def outdated(page):
        """Returns the commands that the page advises."""
        lines = re.findall(r"Outdated: .* Measure again: <code>(.*?)</code>", page)
        return [re.sub("<.*?>", "", line) for line in lines]

    def command(name):
        return f"pixelcnnpp evaluate {name} --run {run.path}"

    page_after("likelihood", "--count", 5)
    page = page_after("classification")
    assert "Comparison with the CNN" not in page
    assert outdated(page) == []
    run.baseline_keras.write_bytes(cnn)
    assert outdated(page_after("report")) == [command("classification")]
    page = page_after("classification")
    assert "Comparison with the CNN" in page
    assert outdated(page) == []
    tiny.tiny_model(tiny.untrained_pixelcnn, class_names=tiny.NAMES).save(run.model_keras)
    both = [command("classification"), f"{command('likelihood')} --count 5"]
    assert outdated(page_after("report")) == both


def test_two_channels(pixelcnnpp, tmp_path):
    split = tiny.tiny_split(30)
    data = {"images": np.repeat(split.images, 2, axis=-1), "labels": split.labels}
    np.savez(tmp_path / "two.npz", **data, class_names=tiny.NAMES)
    model = tiny.untrained_pixelcnn(image_shape=(4, 4, 2), class_names=tiny.NAMES)
    model.save(tmp_path / "model.keras")
    command = ("--model", tmp_path / "model.keras", "--data", tmp_path / "two.npz")
    one_line(pixelcnnpp("evaluate", "generation", *command), "PNG files", "channels")


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
    out = done(pixelcnnpp("evaluate", "all", *common))
    assert "bad.png" in re.search("Skipped 1 file that cannot be read: .*", out)[0]
    assert "Comparisons with training images are omitted" in out
    reports = tmp_path / "reports" / "mine" / "photos"
    report = read_json(reports / "classification.json")
    assert (report["count"], report["split"]) == (12, "all")
    assert not (reports / "copies.json").exists()
    assert (reports / "index.html").exists()
