import io
import json

import enumeration
import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.data.built_in import load_digits
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.detectors import Detection
from keras_pixelcnnpp.evaluate.foreign import foreign_inputs, foreign_png
from keras_pixelcnnpp.run import RunFolder


@pytest.fixture
def images(rng):
    return rng.integers(0, 5, (6, 4, 8, 3), dtype="uint8")


def test_all_have_the_models_form(images):
    sets = foreign_inputs(images, 5)
    assert len(sets) == 8
    for name, given in sets.items():
        assert given.shape == images.shape, name
        assert given.dtype == np.uint8, name
        assert given.max() <= 4, name
        assert np.any(given != images), name


def test_the_spoilt_keep_what_they_should(images):
    sets = foreign_inputs(images, 5)

    def rows(pictures):
        return [sorted(map(bytes, picture)) for picture in pictures]

    def pixels(pictures):
        return [sorted(map(bytes, picture.reshape(-1, 3))) for picture in pictures]

    assert rows(sets["rows shuffled"]) == rows(images)
    assert rows(sets["pixels shuffled"]) != rows(images)
    assert pixels(sets["pixels shuffled"]) == pixels(images)
    np.testing.assert_array_equal(sets["upside down"], np.flip(images, axis=1))
    np.testing.assert_array_equal(sets["inverted"] + images, 4)
    assert sets["one colour"].std(axis=(1, 2)).max() == 0


def test_photographs_and_digits_are_what_they_say():
    grey = np.zeros((4, 8, 8, 1), "uint8")
    sets = foreign_inputs(grey, 17)
    known = {bytes(digit) for digit in load_digits().split("train").images}
    assert {bytes(digit) for digit in sets["digits"]} <= known
    assert "digits" not in foreign_inputs(grey, 17, "digits")
    # Neighbours in a photograph resemble each other; in shuffled noise they don't.
    wide = np.zeros((20, 32, 32, 3), "uint8")
    photographs = foreign_inputs(wide, 256)["photographs"].astype(float)
    step = np.abs(np.diff(photographs, axis=2)).mean()
    shuffled = np.random.default_rng(0).permuted(photographs, axis=2)
    assert 0 < step < 0.5 * np.abs(photographs - shuffled).mean()


def test_same_seed_same_pictures(images):
    first, again, other = (foreign_inputs(images, 5, seed=seed) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert np.any(first["uniform noise"] != other["uniform noise"])


def test_two_channels():
    with pytest.raises(UserError, match="1 or 3 channels"):
        foreign_inputs(np.zeros((2, 4, 4, 2), "uint8"), 5)


def test_picture(rng):
    familiar = tiny.tiny_split(9).images
    sets = {"noise": rng.integers(0, 5, (3, 4, 4, 1), dtype="uint8"), "again": familiar}
    model = enumeration.enumerable_model((4, 4, 1), num_classes=3, num_levels=5)
    detection = Detection.run(familiar, sets, model)
    with Image.open(io.BytesIO(foreign_png(detection, familiar, sets, 5))) as image:
        assert image.width > image.height > 200


def test_command(pixelcnnpp, run):
    status, out, _ = pixelcnnpp("evaluate", "foreign", "--run", run.path, "--count", 6)
    assert status == 0
    assert "uniform noise" in out
    with Image.open(run.reports / "foreign.png") as image:
        assert min(image.size) > 200
    report = json.loads((run.reports / "foreign.json").read_text())
    assert list(report["detectors"])[-1] == "baseline_max_softmax"
    assert report["familiar"]["count"] == 6
    for numbers in report["inputs"].values():
        assert list(numbers["auroc"]) == list(report["detectors"])
        assert all(0 <= area <= 1 for area in numbers["auroc"].values())


def test_command_needs_neither_labels_nor_baseline(pixelcnnpp, run_without_baseline):
    command = ("evaluate", "foreign", "--run", run_without_baseline.path, "--split", "test")
    status, out, _ = pixelcnnpp(*command)
    assert status == 0
    assert "pixelcnnpp train baseline" in out
    report = json.loads((run_without_baseline.reports / "foreign.json").read_text())
    names = ["log_likelihood", "complexity_corrected", "pixelcnnpp_max_softmax"]
    assert list(report["detectors"]) == names
    assert report["familiar"]["count"] == 5


def test_command_with_other_data_and_a_background(pixelcnnpp, run, tmp_path, rng):
    pictures = rng.integers(0, 256, (30, 6, 6, 3), dtype="uint8")
    np.savez(tmp_path / "photographs.npz", x_train=pictures, y_train=np.arange(30) % 2)
    background = RunFolder(tmp_path / "background")
    background.path.mkdir()
    tiny.random_model(num_classes=0, conditioning="none").save(background.model_keras)
    options = ("--against", tmp_path / "photographs.npz", "--background", background.path)
    command = ("evaluate", "foreign", "--run", run.path, *options, "--count", 7)
    status, out, _ = pixelcnnpp(*command)
    assert status == 0
    assert "3 pictures of photographs (--against) against the familiar ones" in " ".join(
        out.split()
    )
    report = json.loads((run.reports / "foreign.json").read_text())
    # A tenth of the 30, resized, made grey and of 5 levels: the run takes no others.
    assert report["inputs"]["photographs (--against)"]["count"] == 3
    assert report["inputs"]["photographs"]["count"] == 7  # those of scikit-learn
    assert list(report["detectors"])[-2] == "likelihood_ratio"
    for numbers in report["inputs"].values():
        for detector, (low, high) in numbers["auroc_ci95"].items():
            assert 0 <= low <= numbers["auroc"][detector] <= high <= 1
    assert report["options"]["background"] == str(background.path)
    with Image.open(run.reports / "foreign.png") as image:
        assert min(image.size) > 200


def test_bad_background_or_other_data(pixelcnnpp, run, tmp_path):
    command = ("evaluate", "foreign", "--run", run.path)
    one_line(pixelcnnpp(*command, "--background", tmp_path), "model.keras does not exist")
    tiny.untrained_model(num_levels=4).save(tmp_path / "model.keras")
    one_line(pixelcnnpp(*command, "--background", tmp_path), "num_levels 4, not 5")
    one_line(pixelcnnpp(*command, "--against", tmp_path / "none"), "No such folder or .npz file")
