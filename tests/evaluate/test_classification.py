import json

import numpy as np
import pytest
import tiny
from command_line import done, one_line, read_rows, report_of
from matplotlib.backends.backend_agg import FigureCanvasAgg

from keras_pixelcnnpp.evaluate import classification
from keras_pixelcnnpp.evaluate.classification import Predictions, compare, confusion_matrix_png

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


class TestNumbers:
    def test_of_two_models(self):
        right = Predictions(np.eye(2)[[0, 1, 1]], np.array([1, 2, 3.0]))
        half = Predictions(np.array([[0.9, 0.1]] * 3))
        models = {"pixelcnnpp": right, "baseline": half}
        report = compare(np.array([0, 1, 1]), models, ("a", "b"))
        assert report["count"] == 3
        assert report["models"]["pixelcnnpp"]["accuracy"] == 1
        assert report["models"]["pixelcnnpp"]["bits_per_dim"] == 2
        assert report["models"]["baseline"]["accuracy"] == pytest.approx(1 / 3)
        assert report["models"]["baseline"]["bits_per_dim"] is None
        assert report["accuracy_difference"]["value"] == pytest.approx(2 / 3)
        assert report["accuracy_difference"]["only"] == {"pixelcnnpp": 2, "baseline": 0}
        # The two images on which the models differ may both be missing from a resample of three.
        assert report["accuracy_difference"]["ci95"] == [0, 1]

    def test_details_by_hand_with_a_class_that_is_missing(self):
        labels = np.array([0, 0, 1, 1])
        probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.1, 0.9, 0], [0, 0.6, 0.4]])
        report = compare(labels, {"a": Predictions(probabilities)}, ("a", "b", "c"))
        json.dumps(report, allow_nan=False)
        assert report["accuracy_difference"] is None
        details = report["models"]["a"]
        by_class = details["classification_report"]
        assert by_class["a"]["recall"] == 0.5
        assert by_class["b"]["precision"] == pytest.approx(2 / 3)
        assert list(by_class) == ["a", "b"]
        assert details["roc_auc"] == {"classes": {"a": 1, "b": 1, "c": None}}


def test_names_are_not_mathematics_and_none_is_left_out(monkeypatch):
    figures = []
    monkeypatch.setattr(classification, "figure_png", figures.append)
    names, labels = ["_hidden", r"$\frac$", "plain"], np.array([0, 1, 2, 0])
    confusion_matrix_png(labels, labels, names)
    confusion_matrix_png(np.array([0, 2]), np.array([2, 2]), names)
    shown = [text.get_text() for text in figures[1].axes[0].get_yticklabels()]
    assert shown == ["_hidden", "plain"]  # no image is of the other class, or assigned to it
    for figure in figures:
        FigureCanvasAgg(figure).draw()


class TestCommand:
    def test_files_and_numbers(self, measured):
        report = measured.report("classification")
        assert (report["split"], report["count"]) == ("validation", 9)
        models = report["models"]
        split, reports = tiny.tiny_split(9, 1), measured.run.reports
        assert report["trained_on"] == 0
        assert {row["trained_on"] for row in read_rows(reports / "predictions.csv")} == {"0"}
        files = {"pixelcnnpp": "predictions.csv", "baseline": "predictions_baseline.csv"}
        for name, file in files.items():
            predicted = np.loadtxt(reports / file, delimiter=",", skiprows=1, usecols=3)
            assert models[name]["accuracy"] == pytest.approx(np.mean(predicted == split.labels))
        right = measured.model.class_probabilities(split.images).argmax(axis=1) == split.labels
        assert models["pixelcnnpp"]["accuracy"] == right.mean()
        bits = measured.model.bits_per_dim(split.images).mean()
        assert models["pixelcnnpp"]["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
        difference = models["pixelcnnpp"]["accuracy"] - models["baseline"]["accuracy"]
        assert report["accuracy_difference"]["value"] == pytest.approx(difference)
        ours, cnns = report["accuracy_difference"]["only"].values()
        assert (ours - cnns) / 9 == pytest.approx(difference)
        printed = measured.printed["classification"]
        assert f"is right on {ours} image" in printed
        assert f"only Baseline CNN on {cnns}." in printed

    def test_labels_a_class_and_a_cnn_are_missing(self, pixelcnnpp, run_without_baseline, tmp_path):
        """Unlabeled images are predicted but not counted."""
        run = run_without_baseline
        arrays = dict(np.load(run.read_config()["data"]["source"]))
        labels = arrays["y_validation"]
        labels[labels == 2] = -1
        np.savez(tmp_path / "other.npz", **arrays)
        options = ("--run", run.path, "--data", tmp_path / "other.npz")
        done(pixelcnnpp("evaluate", "classification", *options))
        run.reports /= "other"
        report = report_of(run, "classification")
        assert (report["count"], report["accuracy_difference"]) == (6, None)
        assert list(report["models"]) == ["pixelcnnpp"]
        assert report["models"]["pixelcnnpp"]["roc_auc"]["classes"]["bright"] is None
        rows = read_rows(run.reports / "predictions.csv")
        assert [int(row["label"]) for row in rows] == list(labels)
        right = [row["predicted"] == row["label"] for row in rows if row["label"] != "-1"]
        assert report["models"]["pixelcnnpp"]["accuracy"] == np.mean(right)
        assert pixelcnnpp("evaluate", "evidence", *options)[0] == 0
        classes = {row["label"] for row in report_of(run, "evidence")["images"]}
        assert classes == {"dark", "gray"}

    def test_no_labels(self, pixelcnnpp, run):
        """Files of an earlier evaluation are removed."""
        folder = run.reports / "test"
        folder.mkdir(parents=True)
        for name in ("classification.json", "confusion_baseline.png", "mine.png"):
            (folder / name).write_text("{}")
        command = ("evaluate", "classification", "--run", run.path)
        out = done(pixelcnnpp(*command, "--split", "test"))
        assert "only predictions were written" in out
        files = {path.name for path in folder.iterdir()}
        written = {"predictions.csv", "predictions_baseline.csv", "index.html"}
        assert files == {*written, "mine.png"}


def test_other_data_with_classes_of_other_names(pixelcnnpp, run, tmp_path):
    """Classes are matched by name, in any order, and may be a subset."""
    split, path = tiny.tiny_split(9, 1), tmp_path / "other.npz"
    np.savez(path, x_test=split.images, y_test=2 - split.labels, class_names=tiny.NAMES[::-1])
    np.testing.assert_array_equal(run.load_data(path).split("test").labels, split.labels)
    bright = {"images": split.images[2::3], "labels": np.zeros(3, int)}
    np.savez(path, **bright, class_names=["bright"])
    assert run.load_data(path).split("all").labels.tolist() == [2, 2, 2]
    np.savez(path, **bright, class_names=["cat"])
    command = ("evaluate", "classification", "--run", run.path, "--data", path)
    one_line(pixelcnnpp(*command), "Received: cat. --classes-in-order")
    out = done(pixelcnnpp(*command, "--classes-in-order"))
    assert "Classes by order: cat as dark." in out
    rows = read_rows(run.reports / "other" / "predictions.csv")
    assert [row["label_name"] for row in rows] == ["dark"] * 3
