"""The commands `evaluate classification`, `evaluate evidence` and `evaluate foreign`."""

import json

import keras
import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image
from sklearn.metrics import classification_report, roc_auc_score

from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.run import RunFolder

# Keras's saving asks NumPy for copies in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.save_npz(tmp_path_factory.mktemp("data") / "tiny.npz")


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """A run folder with both models, as if they had been trained."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    config = tiny.tiny_data_config(tiny.tiny_dataset())
    write_json(folder.config_json, {"data": {**config, "source": str(data)}})
    tiny.tiny_model().save(folder.model_keras)
    BaselineCNN((4, 4, 1), 3, 5, filters=(4,), num_blocks=1).save(folder.baseline_keras)
    return folder


@pytest.fixture
def without_baseline(run, tmp_path):
    folder = RunFolder(tmp_path / "alone")
    folder.path.mkdir()
    for path in (run.config_json, run.model_keras):
        (folder.path / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def one_class_missing(tmp_path):
    """Other data whose validation split has no picture of the last class."""
    arrays = {}
    for name, split in tiny.tiny_dataset().splits.items():
        kept = split.take(split.labels < (2 if name == "validation" else 3))
        arrays[f"x_{name}"], arrays[f"y_{name}"] = (kept.images * 63).astype("uint8"), kept.labels
    np.savez(tmp_path / "missing.npz", **arrays)
    return tmp_path / "missing.npz"


def is_png(path):
    with Image.open(path) as image:
        return image.format == "PNG" and min(image.size) > 200


def test_classification(pixelcnnpp, run):
    status, out, _ = pixelcnnpp("evaluate", "classification", "--run", run.path)
    assert status == 0
    assert "paired bootstrap" in out
    report = json.loads((run.reports / "classification.json").read_text())
    assert (report["split"], report["count"], report["flip_average"]) == ("validation", 9, False)
    assert report["options"] == {"split": "validation", "batch_size": 32}
    assert all(numbers["pictures_per_second"] > 0 for numbers in report["models"].values())
    labels = tiny.tiny_split(9, 1).labels
    for name, file in (("pixelcnnpp", "predictions.csv"), ("baseline", "predictions_baseline.csv")):
        numbers = report["models"][name]
        columns = np.loadtxt(
            run.reports / file, delimiter=",", skiprows=1, usecols=range(2, 6), ndmin=2
        )
        predicted, probabilities = columns[:, 0], columns[:, 1:]
        expected = classification_report(
            labels,
            predicted,
            target_names=["dark", "grey", "bright"],
            output_dict=True,
            zero_division=0,
        )
        for key in ("dark", "grey", "bright", "macro avg"):
            assert numbers["classification_report"][key] == pytest.approx(expected[key])
        areas = [roc_auc_score(labels == label, probabilities[:, label]) for label in range(3)]
        assert numbers["roc_auc"]["macro"] == pytest.approx(np.mean(areas), abs=1e-3)
        assert len(numbers["temperature_scaling"]["temperatures"]) == 2
        assert is_png(run.reports / f"roc_{name}.png")
    models = report["models"]
    difference = models["pixelcnnpp"]["accuracy"] - models["baseline"]["accuracy"]
    assert report["accuracy_difference"]["value"] == pytest.approx(difference)
    assert is_png(run.reports / "reliability.png")
    assert is_png(run.reports / "selective_accuracy.png")


def test_flip_average_is_recorded(pixelcnnpp, without_baseline):
    command = ("evaluate", "classification", "--run", without_baseline.path)
    status, out, _ = pixelcnnpp(*command, "--flip-average")
    assert status == 0
    assert "mirror image" in out
    assert "pixelcnnpp train baseline" in out
    report = json.loads((without_baseline.reports / "classification.json").read_text())
    assert report["flip_average"] is True
    assert report["accuracy_difference"] is None
    model = keras.models.load_model(without_baseline.model_keras)
    split = tiny.tiny_split(9, 1)
    scores = [model.class_log_likelihoods(split.images[:, :, ::step]) for step in (1, -1)]
    correct = np.mean(scores, axis=0).argmax(axis=1) == split.labels
    assert report["models"]["pixelcnnpp"]["accuracy"] == pytest.approx(correct.mean())


def test_a_class_is_missing(pixelcnnpp, without_baseline, one_class_missing):
    options = ("--run", without_baseline.path, "--data", one_class_missing)
    status, out, _ = pixelcnnpp("evaluate", "classification", *options)
    assert status == 0
    assert "no pictures of bright" in out
    report = json.loads((without_baseline.reports / "classification.json").read_text())
    assert report["models"]["pixelcnnpp"]["roc_auc"]["classes"]["bright"] is None
    assert pixelcnnpp("evaluate", "evidence", *options)[0] == 0
    report = json.loads((without_baseline.reports / "evidence.json").read_text())
    assert {row["label"] for row in report["pictures"]} == {"dark", "grey"}


def test_evidence(pixelcnnpp, run):
    status, out, _ = pixelcnnpp("evaluate", "evidence", "--run", run.path, "--per-class", 2)
    assert status == 0
    assert str(run.reports) in out
    assert is_png(run.reports / "evidence.png")
    report = json.loads((run.reports / "evidence.json").read_text())
    assert (report["split"], report["count"], report["temperature"]) == ("validation", 6, 1)
    model = keras.models.load_model(run.model_keras)
    split = tiny.tiny_split(9, 1)
    names = ["dark", "grey", "bright"]
    for row in report["pictures"]:
        index = split.paths.index(f"picture/{row['path'].split('/')[-1].lstrip('0') or 0}")
        image = split.images[index : index + 1]
        scores = model.class_log_likelihoods(image)[0]
        assert row["label"] == names[split.labels[index]]
        difference = scores[names.index(row["label"])] - scores[names.index(row["against"])]
        assert row["nats"] == pytest.approx(difference, abs=1e-3)


def test_evidence_needs_labels(pixelcnnpp, run):
    one_line(pixelcnnpp("evaluate", "evidence", "--run", run.path, "--split", "test"), "no labels")


def test_foreign(pixelcnnpp, run, without_baseline):
    status, out, _ = pixelcnnpp("evaluate", "foreign", "--run", run.path, "--count", 6)
    assert status == 0
    assert "uniform noise" in out
    assert is_png(run.reports / "foreign.png")
    report = json.loads((run.reports / "foreign.json").read_text())
    detectors = ["log_likelihood", "complexity_corrected", "pixelcnnpp_max_softmax"]
    assert list(report["detectors"]) == [*detectors, "baseline_max_softmax"]
    assert report["familiar"]["count"] == 6
    for numbers in report["inputs"].values():
        assert list(numbers["auroc"]) == list(report["detectors"])
        assert all(0 <= area <= 1 for area in numbers["auroc"].values())

    # It needs neither labels nor a baseline.
    command = ("evaluate", "foreign", "--run", without_baseline.path, "--split", "test")
    status, out, _ = pixelcnnpp(*command)
    assert status == 0
    assert "pixelcnnpp train baseline" in out
    report = json.loads((without_baseline.reports / "foreign.json").read_text())
    assert list(report["detectors"]) == detectors
    assert report["familiar"]["count"] == 5


@pytest.mark.parametrize("command", ["evidence", "foreign"])
def test_bad_input(pixelcnnpp, run, tmp_path, command):
    one_line(pixelcnnpp("evaluate", command, "--run", tmp_path), "No run in")
    one_line(pixelcnnpp("evaluate", command, "--run", run.path, "--split", "tset"), "validation")
    folder = RunFolder(tmp_path / "untrained")
    folder.path.mkdir()
    folder.config_json.write_bytes(run.config_json.read_bytes())
    one_line(pixelcnnpp("evaluate", command, "--run", folder.path), "pixelcnnpp train pixelcnnpp")
