import json

import keras
import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.generation import (
    GALLERIES,
    complete_images,
    parse_temperatures,
    temperatures_gallery,
)
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

NAMES = ("dark", "grey", "bright")


def report_of(run):
    return json.loads((run.reports / "generation.json").read_text())


def test_completions_keep_the_upper_half():
    model, real = tiny.tiny_model(), tiny.tiny_split(9, 1)
    pixels, rows, columns = complete_images(model, real, NAMES, 3, seed=4)
    assert pixels.shape == (3, 5, 4, 4, 1)
    assert rows == list(NAMES)
    assert columns == ["real", "given", "completions", "", ""]
    original = to_pixels(real.images[:3], 5)
    assert (pixels[:, 0] == original).all()
    assert (pixels[:, 1:, :2] == original[:, np.newaxis, :2]).all()
    images, labels = np.repeat(real.images[:3], 3, axis=0), np.repeat(np.arange(3), 3)
    completed = model.complete(images, 2, labels, seed=4)
    assert (pixels[:, 2:].reshape(9, 4, 4, 1) == to_pixels(completed, 5)).all()


def test_gallery_of_temperatures():
    cold, hot = (tiny.tiny_split(12, seed) for seed in (1, 2))
    sets = {t: ClassSamples(s.images, s.labels, NAMES, 5) for t, s in ((0.5, cold), (1.0, hot))}
    pixels, rows, columns = temperatures_gallery(sets)
    assert rows == ["temperature 0.5", "temperature 1"]
    assert columns == ["dark", "", "", "grey", "", "", "bright", "", ""]
    assert (pixels[0, 4] == to_pixels(cold.images[cold.labels == 1][1], 5)).all()


@pytest.mark.parametrize(("text", "expected"), [("", []), ("1", [1.0]), (" 2, 0.5 ,2", [0.5, 2.0])])
def test_temperatures(text, expected):
    assert parse_temperatures(text) == expected


@pytest.mark.parametrize("text", ["a", "0", "1,-1", "nan", "1;2"])
def test_bad_temperatures(text):
    with pytest.raises(UserError, match="numbers above 0"):
        parse_temperatures(text)


def test_images_grids_and_report(pixelcnnpp, run):
    command = ("evaluate", "generation", "--run", run.path, "--reference", "none")
    command += ("--temperatures", "")
    assert pixelcnnpp(*command, "--per-class", 3, "--seed", 5)[0] == 0
    assert {path.name for path in run.samples.iterdir()} == {
        f"{name}_image_{number:02d}.png" for name in NAMES for number in (1, 2, 3)
    }
    grids = {path.stem: np.asarray(Image.open(path)).shape for path in run.reports.glob("*.png")}
    assert set(grids) == {"samples", *(f"samples_{name}" for name in NAMES)}
    assert grids["samples"] == (16 * 16, 16 * 16)

    report = report_of(run)
    assert not {"metrics", "memorisation", "temperatures"} & set(report)
    assert (report["count"], report["per_class"], report["seed"]) == (9, 3, 5)
    options = {"per_class": 3, "seed": 5, "temperature": 1, "guidance": 0, "completions": 4}
    assert report["options"] == {**options, "reference": "none", "temperatures": ""}
    model = keras.models.load_model(run.model_keras)
    labels = np.repeat(np.arange(3), 3)
    levels = model.sample(labels, seed=5)
    bits = -model.log_prob(levels, labels) / (16 * np.log(2))
    assert report["bits_per_dim"] == pytest.approx(bits.mean(), rel=1e-4)
    for index, name in enumerate(NAMES):
        expected = pytest.approx(bits[labels == index].mean(), rel=1e-4)
        assert report["classes"][name] == {"count": 3, "bits_per_dim": expected}
    with Image.open(run.samples / "bright_image_02.png") as image:
        assert (np.asarray(image) // 63 == levels[7, ..., 0]).all()

    # A smaller set leaves nothing of the larger one behind.
    assert pixelcnnpp(*command, "--per-class", 1)[0] == 0
    assert len(list(run.samples.iterdir())) == 3


def test_beside_real_images(pixelcnnpp, run):
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 4)
    status, out, _ = pixelcnnpp(*command, "--temperatures", "0.5,1", "--completions", 2)
    assert status == 0
    for name in GALLERIES:
        with Image.open(run.reports / f"{name}.png") as image:
            assert min(image.size) > 200
    report = report_of(run)
    assert report["features"] == {"name": "baseline_cnn", "dimensions": 4}
    assert report["reference"] == {"split": "validation", "count": 9}
    assert None not in report["metrics"]["all"].values()
    assert set(report["memorisation"]) == {"pixels", "features"}
    cold, same = report["temperatures"]
    assert (cold["temperature"], same["temperature"]) == (0.5, 1)
    assert same["bits_per_dim"] == report["bits_per_dim"]
    assert same["kid"] == report["metrics"]["all"]["kid"]
    named = report["named_rightly"]
    assert (named["drawn"]["count"], named["real"]["count"]) == (12, 9)
    assert f"names {named['drawn']['accuracy']:.1%} of the images" in out
    model = keras.models.load_model(run.model_keras)
    labels = np.repeat(np.arange(3), 4)
    levels = model.sample(labels, seed=0, temperature=0.5)
    expected = -model.log_prob(levels, labels).mean() / (16 * np.log(2))
    assert cold["bits_per_dim"] == pytest.approx(expected, rel=1e-4)

    # What isn't made any more does not stay behind.
    only_sample = ("--reference", "none", "--temperatures", "")
    assert pixelcnnpp(*command, *only_sample)[0] == 0
    assert not any((run.reports / f"{name}.png").exists() for name in GALLERIES)


def test_without_a_baseline_or_labels(pixelcnnpp, run_without_baseline):
    run = run_without_baseline
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 2)
    status, out, _ = pixelcnnpp(*command, "--temperatures", "1", "--reference", "test")
    assert status == 0
    assert f"--image-size 4 --num-levels 5 --run {run.path}\n" in out
    report = report_of(run)
    assert not {"metrics", "named_rightly"} & set(report)
    assert set(report["memorisation"]) == {"pixels"}
    assert report["temperatures"][0]["frechet_distance"] is None
    assert (run.reports / "nearest_neighbours.png").exists()
    assert not (run.reports / "completions.png").exists()


def test_copies_are_of_what_the_model_was_trained_on(pixelcnnpp, run_without_baseline, tmp_path):
    """And not of the split train of the data that it is held against."""
    run = run_without_baseline
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 2)
    command = (*command, "--temperatures", "", "--completions", 0)
    assert pixelcnnpp(*command)[0] == 0
    expected = report_of(run)["memorisation"]["pixels"]
    arrays = dict(np.load(run.read_config()["data"]["source"]))
    arrays["x_train"] = arrays["x_train"][::-1] // 2
    np.savez(tmp_path / "other.npz", **arrays)
    other = ("--data", tmp_path / "other.npz")
    assert pixelcnnpp(*command, *other)[0] == 0
    assert report_of(run)["memorisation"]["pixels"] == expected
    # A model that was trained on mirrored images may have copied those.
    config = run.read_config()
    config["pixelcnnpp"]["options"]["horizontal_flip"] = True
    config["data"]["source"] = str(tmp_path / "gone.npz")
    write_json(run.config_json, config)
    status, out, _ = pixelcnnpp(*command, *other)
    assert status == 0
    assert "gone.npz, which the run was trained on, is not there" in out
    assert report_of(run)["memorisation"]["pixels"] != expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--temperature", 0), "temperature"),
        (("--temperature", "inf"), "temperature"),
        (("--guidance", 1), "label dropout"),
        (("--temperatures", "1,0"), "numbers above 0"),
        (("--reference", "train"), "wasn't trained on"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_options(pixelcnnpp, run, options, message):
    one_line(pixelcnnpp("evaluate", "generation", "--run", run.path, *options), message)
    assert not run.samples.exists()
    assert not run.reports.exists()
