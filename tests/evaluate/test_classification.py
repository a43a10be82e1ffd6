import csv
import io
import json

import keras
import numpy as np
import pytest
import tiny
from PIL import Image
from sklearn.metrics import classification_report, roc_auc_score

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate import classification_figures
from keras_pixelcnnpp.evaluate.classification import Judgement, classifier_details, compare
from keras_pixelcnnpp.evaluate.classification_figures import (
    confusion_matrix_png,
    reliability_png,
    roc_png,
    selective_accuracy_png,
)
from keras_pixelcnnpp.evaluate.metrics.pictures import PixelHistogram


def report_of(run):
    return json.loads((run.reports / "classification.json").read_text())


def size_of(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size


class TestNumbers:
    def test_of_two_models(self):
        right = Judgement(np.eye(2)[[0, 1, 1]], np.full((3, 2), -4 * np.log(2)))
        half = Judgement(np.array([[0.9, 0.1]] * 3))
        models = {"pixelcnnpp": right, "baseline": half}
        report = compare(np.array([0, 1, 1]), models, (2, 2, 1))
        assert report["count"] == 3
        assert report["models"]["pixelcnnpp"]["accuracy"] == 1
        assert report["models"]["pixelcnnpp"]["bits_per_dim"] == pytest.approx(1)
        assert report["models"]["baseline"]["accuracy"] == pytest.approx(1 / 3)
        assert report["models"]["baseline"]["bits_per_dim"] is None
        assert report["mcnemar_p"] == pytest.approx(0.5)
        assert report["accuracy_difference"]["value"] == pytest.approx(2 / 3)
        # Of three pictures, one or none of the two that tell them apart may be drawn.
        assert report["accuracy_difference"]["ci95"] == [0, 1]

    def test_density_is_the_mean_over_classes(self):
        # p(x|0) = 1/2, p(x|1) = 1/8: p(x) = 5/16.
        judgement = Judgement(np.array([[0.8, 0.2]]), np.log([[1 / 2, 1 / 8]]))
        report = compare(np.array([0]), {"pixelcnnpp": judgement}, (1, 1, 1), ("a", "b"))
        assert report["models"]["pixelcnnpp"]["bits_per_dim"] == pytest.approx(-np.log2(5 / 16))
        assert report["mcnemar_p"] is None
        assert report["accuracy_difference"] is None
        assert report["models"]["pixelcnnpp"]["temperature_scaling"] is None

    def test_details_by_hand_with_a_class_that_is_missing(self):
        labels = np.array([0, 0, 1, 1])
        probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.1, 0.9, 0], [0, 0.6, 0.4]])
        details = classifier_details(labels, probabilities, ("a", "b", "c"))
        json.dumps(details, allow_nan=False)
        by_class = details["classification_report"]
        assert by_class["a"]["recall"] == 0.5
        assert by_class["b"]["precision"] == pytest.approx(2 / 3)
        assert by_class["c"]["support"] == 0
        assert details["roc_auc"] == {"macro": 1, "classes": {"a": 1, "b": 1, "c": None}}
        # By confidence: 0.9 and 0.8 and 0.6 are right, 0.5 is wrong.
        assert details["selective_accuracy"]["area"] == pytest.approx((1 + 1 + 1 + 3 / 4) / 4)
        assert details["selective_accuracy"]["at_coverage"] == {
            "0.5": 1,
            "0.8": 0.75,
            "0.9": 0.75,
            "0.95": 0.75,
        }

    def test_temperature_scaling_mends_what_was_too_sure(self, rng):
        labels = rng.integers(0, 3, 600)
        logits = 2 * np.eye(3)[labels] + rng.normal(size=(600, 3)) * np.sqrt(2)
        # The class's true posterior has these logits; four times as sure is too sure.
        probabilities = np.exp(4 * logits) / np.exp(4 * logits).sum(axis=1, keepdims=True)
        report = compare(labels, {"a": Judgement(probabilities)}, (1, 1, 1), ("a", "b", "c"))
        numbers = report["models"]["a"]
        scaled = numbers["temperature_scaling"]
        assert scaled["temperatures"] == pytest.approx([4, 4], rel=0.3)
        assert scaled["ece"] < numbers["ece"] / 2
        assert scaled["log_loss"] < numbers["log_loss"]


def test_figures(rng):
    labels, probabilities = np.array([0, 1, 1, 0]), rng.dirichlet(np.ones(12), 4)
    two = {"one": probabilities, "two": probabilities}
    names = [f"class {index}" for index in range(12)]
    sizes = [
        size_of(png)
        for png in (
            roc_png(labels, probabilities, names),
            roc_png(labels, probabilities[:, :2], names[:2], "title"),
            roc_png(np.zeros(4, int), probabilities[:, :2], names[:2]),
            reliability_png(labels, {"one": probabilities}),
            reliability_png(labels, two),
            selective_accuracy_png(labels, two),
            confusion_matrix_png(labels, np.array([0, 1, 0, 0]), ["cat", "dog", "none"]),
        )
    ]
    assert min(map(min, sizes)) > 300
    assert sizes[4][0] > 1.5 * sizes[3][0]


def test_names_are_not_mathematics_and_none_is_left_out(rng, monkeypatch):
    figures = []
    monkeypatch.setattr(classification_figures, "figure_png", figures.append)
    names = ["_hidden", r"$\frac$", "plain"]
    labels, probabilities = np.array([0, 1, 2, 0]), rng.dirichlet(np.ones(3), 4)
    roc_png(labels, probabilities, names)
    (legend,) = [axes.get_legend() for axes in figures[0].axes]
    assert [text.get_text().split(" (AUC")[0] for text in legend.get_texts()] == names
    confusion_matrix_png(labels, labels, names)
    for figure in figures:
        figure.canvas.draw()


def test_confusion_of_many_classes_stays_readable():
    labels = np.arange(200)
    names = [f"class {index}" for index in labels]
    assert max(size_of(confusion_matrix_png(labels, labels, names))) < 2000


class TestCommand:
    def test_files_and_numbers(self, pixelcnnpp, run):
        status, out, err = pixelcnnpp("evaluate", "classification", "--run", run.path)
        assert status == 0
        assert "paired bootstrap" in out
        assert "━━━━━━━ 0s" not in out + err  # Keras's bar
        report = report_of(run)
        assert (report["split"], report["count"]) == ("validation", 9)
        assert report["flip_average"] is False
        assert report["options"] == {"split": "validation", "batch_size": 32}
        models = report["models"]
        assert all(numbers["pictures_per_second"] > 0 for numbers in models.values())
        labels = tiny.tiny_split(9, 1).labels
        files = {"pixelcnnpp": "predictions.csv", "baseline": "predictions_baseline.csv"}
        for name, file in files.items():
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
                assert models[name]["classification_report"][key] == pytest.approx(expected[key])
            areas = [roc_auc_score(labels == label, probabilities[:, label]) for label in range(3)]
            assert models[name]["roc_auc"]["macro"] == pytest.approx(np.mean(areas), abs=1e-3)
            assert len(models[name]["temperature_scaling"]["temperatures"]) == 2
        difference = models["pixelcnnpp"]["accuracy"] - models["baseline"]["accuracy"]
        assert report["accuracy_difference"]["value"] == pytest.approx(difference)
        pictures = {path.stem: size_of(path.read_bytes()) for path in run.reports.glob("*.png")}
        both = [f"{figure}_{model}" for figure in ("confusion", "roc") for model in models]
        assert set(pictures) == {"reliability", "selective_accuracy", *both}

    def test_flip_average_is_recorded(self, pixelcnnpp, run_without_baseline):
        run = run_without_baseline
        status, out, _ = pixelcnnpp(
            "evaluate", "classification", "--run", run.path, "--flip-average"
        )
        assert status == 0
        assert "mirror image" in out
        source = run.read_config()["data"]["source"]
        assert (
            f"Train it: pixelcnnpp train baseline --resize squeeze --data {source} --image-size 4 "
            f"--num-levels 5 --run {run.path}\n"
        ) in out
        report = report_of(run)
        assert report["flip_average"] is True
        assert report["accuracy_difference"] is None
        model = keras.models.load_model(run.model_keras)
        split = tiny.tiny_split(9, 1)
        scores = [model.class_log_likelihoods(split.images[:, :, ::step]) for step in (1, -1)]
        correct = np.mean(scores, axis=0).argmax(axis=1) == split.labels
        assert report["models"]["pixelcnnpp"]["accuracy"] == pytest.approx(correct.mean())

    def test_labels_and_a_class_are_missing(self, pixelcnnpp, run_without_baseline, tmp_path):
        """Pictures without label are predicted and not counted."""
        run = run_without_baseline
        arrays = {}
        for name, split in tiny.tiny_dataset().splits.items():
            arrays[f"x_{name}"] = (split.images * 63).astype("uint8")
            arrays[f"y_{name}"] = split.labels
        labels = arrays["y_validation"]
        labels[labels == 2] = -1
        np.savez(tmp_path / "other.npz", **arrays)
        options = ("--run", run.path, "--data", tmp_path / "other.npz")
        status, out, _ = pixelcnnpp("evaluate", "classification", *options)
        assert status == 0
        assert "no pictures of bright" in out
        report = report_of(run)
        assert report["count"] == 6
        assert report["models"]["pixelcnnpp"]["roc_auc"]["classes"]["bright"] is None
        rows = list(csv.DictReader((run.reports / "predictions.csv").read_text().splitlines()))
        assert [int(row["label"]) for row in rows] == list(labels)
        right = [row["predicted"] == row["label"] for row in rows if row["label"] != "-1"]
        assert report["models"]["pixelcnnpp"]["accuracy"] == np.mean(right)
        # The floor too: of what the model was trained on, of the pictures it is judged by.
        tiny_pictures = tiny.tiny_dataset()
        known = tiny_pictures.split("validation").images[labels >= 0]
        histogram = PixelHistogram(tiny_pictures.split("train").images, tiny_pictures.num_levels)
        expected = -histogram.log_prob(known).mean() / (16 * np.log(2))
        assert report["pixel_histogram_bits_per_dim"] == pytest.approx(expected)
        assert pixelcnnpp("evaluate", "evidence", *options)[0] == 0
        report = json.loads((run.reports / "evidence.json").read_text())
        assert {row["label"] for row in report["pictures"]} == {"dark", "grey"}

    def test_no_labels(self, pixelcnnpp, run):
        command = ("evaluate", "classification", "--run", run.path, "--split", "test")
        status, out, _ = pixelcnnpp(*command)
        assert status == 0
        assert "wrote the predictions only" in out
        assert {path.name for path in run.reports.iterdir()} == {
            "predictions.csv",
            "predictions_baseline.csv",
        }


def test_other_data_with_classes_of_other_names(run, capsys, tmp_path):
    arrays = dict(np.load(run.read_config()["data"]["source"]))
    names = run.read_config()["data"]["class_names"]
    path = tmp_path / "other.npz"
    np.savez(path, **{**arrays, "class_names": [*names[:2], "other"]})
    run.load_data(str(path))
    assert f"{names[0]}, {names[1]}, other) stand, in this order, for" in capsys.readouterr().out
    np.savez(path, **{**arrays, "class_names": names[::-1]})
    with pytest.raises(UserError, match="the classes of the run in another order"):
        run.load_data(str(path))
