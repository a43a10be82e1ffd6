import json

import keras
import numpy as np
import pytest
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.files import write_json


def report_of(run):
    return json.loads((run.reports / "generation.json").read_text())


def test_pictures_grids_and_report(pixelcnnpp, run):
    command = ("evaluate", "generation", "--run", run.path, "--reference", "none")
    command += ("--temperatures", "")
    status, out, _ = pixelcnnpp(*command, "--per-class", 3, "--seed", 5)
    assert status == 0
    assert str(run.samples) in out
    names = ("dark", "grey", "bright")
    assert {path.name for path in run.samples.iterdir()} == {
        f"{name}_image_{number:02d}.png" for name in names for number in (1, 2, 3)
    }
    grids = {path.stem: np.asarray(Image.open(path)).shape for path in run.reports.glob("*.png")}
    assert set(grids) == {"samples", *(f"samples_{name}" for name in names)}
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
    for index, name in enumerate(names):
        expected = bits[labels == index].mean()
        assert report["classes"][name] == {
            "count": 3,
            "bits_per_dim": pytest.approx(expected, rel=1e-4),
        }
    with Image.open(run.samples / "bright_image_02.png") as image:
        assert (np.asarray(image) // 63 == levels[7, ..., 0]).all()

    # A smaller set leaves nothing of the larger one behind.
    assert pixelcnnpp(*command, "--per-class", 1)[0] == 0
    assert len(list(run.samples.iterdir())) == 3


def test_beside_real_pictures(pixelcnnpp, run):
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 4)
    status, out, _ = pixelcnnpp(*command, "--temperatures", "0.5,1", "--completions", 2)
    assert status == 0
    assert "no FID" in out
    galleries = ("nearest_neighbours", "completions", "temperatures")
    for name in galleries:
        with Image.open(run.reports / f"{name}.png") as image:
            assert image.format == "PNG"

    report = report_of(run)
    assert report["features"] == {"name": "baseline_cnn", "dimensions": 4}
    assert report["reference"] == {"split": "validation", "count": 9}
    assert list(report["metrics"]) == ["all", "dark", "grey", "bright"]
    keys = {"frechet_distance", "kid", "precision", "recall", "density", "coverage"}
    for numbers in report["metrics"].values():
        assert set(numbers) == {*keys, "floor"}
        assert set(numbers["floor"]) == keys
    assert None not in report["metrics"]["all"].values()
    assert set(report["memorisation"]) == {"pixels", "features"}
    assert "fid" not in report
    cold, same = report["temperatures"]
    assert (cold["temperature"], same["temperature"]) == (0.5, 1)
    assert same["bits_per_dim"] == report["bits_per_dim"]
    for name in ("frechet_distance", "kid"):
        assert same[name] == report["metrics"]["all"][name]
    named = report["named_rightly"]
    assert (named["drawn"]["count"], named["real"]["count"]) == (12, 9)
    assert same["named_rightly"] == named["drawn"]["accuracy"]
    assert f"names {named['drawn']['accuracy']:.1%} of the pictures" in out

    # What isn't made any more does not stay behind.
    only_draw = ("--reference", "none", "--temperatures", "")
    assert pixelcnnpp(*command, *only_draw)[0] == 0
    assert not any((run.reports / f"{name}.png").exists() for name in galleries)


def test_without_a_baseline_it_says_how_to_train_one(pixelcnnpp, run_without_baseline):
    run = run_without_baseline
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 2)
    status, out, _ = pixelcnnpp(*command, "--temperatures", "1", "--reference", "test")
    assert status == 0
    assert f"--image-size 4 --num-levels 5 --run {run.path}\n" in out
    assert "no labels: no completions" in out
    report = report_of(run)
    assert "metrics" not in report
    assert set(report["memorisation"]) == {"pixels"}
    assert report["temperatures"][0]["frechet_distance"] is None
    assert "named_rightly" not in report
    assert (run.reports / "nearest_neighbours.png").exists()
    assert not (run.reports / "completions.png").exists()


def test_copies_are_of_what_the_model_was_trained_on(pixelcnnpp, run_without_baseline, tmp_path):
    """And not of the split train of the data that it is held against."""
    run = run_without_baseline
    command = ("evaluate", "generation", "--run", run.path, "--per-class", 2)
    command = (*command, "--temperatures", "", "--completions", 0)
    assert pixelcnnpp(*command)[0] == 0
    expected = report_of(run)["memorisation"]["pixels"]["median_distance"]
    arrays = dict(np.load(run.read_config()["data"]["source"]))
    arrays["x_train"] = arrays["x_train"][::-1] // 2
    np.savez(tmp_path / "other.npz", **arrays)
    other = ("--data", tmp_path / "other.npz")
    assert pixelcnnpp(*command, *other)[0] == 0
    assert report_of(run)["memorisation"]["pixels"]["median_distance"] == expected
    # Where those aren't there, it says so.
    config = run.read_config()
    config["data"]["source"] = str(tmp_path / "gone.npz")
    write_json(run.config_json, config)
    status, out, _ = pixelcnnpp(*command, *other)
    assert status == 0
    assert "gone.npz, which the run was trained on, is not there" in out
    assert report_of(run)["memorisation"]["pixels"]["median_distance"] != expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--temperature", 0), "temperature"),
        (("--temperature", "inf"), "temperature"),
        (("--guidance", 1), "label dropout"),
        (("--temperatures", "1,0"), "numbers above 0"),
        (("--reference", "train"), "wasn't trained on"),
        (("--reference", "holdout"), "no split 'holdout'"),
        (("--data", "nowhere"), "--reference none"),
        (("--inception-weights", "none.pth"), "nception"),
        (("--inception-weights", "none.pth", "--reference", "none"), "give a --reference"),
    ],
)
def test_bad_options(pixelcnnpp, run, options, message):
    one_line(pixelcnnpp("evaluate", "generation", "--run", run.path, *options), message)
    assert not run.samples.exists()
    assert not run.reports.exists()


def test_nothing_trained(pixelcnnpp, tmp_path):
    one_line(pixelcnnpp("evaluate", "generation", "--run", tmp_path / "none"), "No run in")
