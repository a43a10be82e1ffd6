import csv
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from keras_pixelcnnpp.classifiers import write_predictions
from keras_pixelcnnpp.evaluate.classification import Evaluation, classifier_details, compare
from keras_pixelcnnpp.evaluate.classification_figures import (
    confusion_matrix_png,
    reliability_png,
    roc_png,
    selective_accuracy_png,
)


def test_comparison_leaves_unlabelled_pictures_out():
    labels = np.array([0, 1, -1, 1])
    right = Evaluation(np.eye(2)[[0, 1, 0, 1]], np.full((4, 2), -4 * np.log(2)))
    half = Evaluation(np.array([[0.9, 0.1]] * 4))
    report = compare(labels, {"pixelcnnpp": right, "baseline": half}, (2, 2, 1))
    assert report["count"] == 3
    assert report["models"]["pixelcnnpp"]["accuracy"] == 1
    assert report["models"]["pixelcnnpp"]["bits_per_dim"] == pytest.approx(1)
    assert report["models"]["baseline"]["accuracy"] == pytest.approx(1 / 3)
    assert report["models"]["baseline"]["bits_per_dim"] is None
    assert report["mcnemar_p"] == pytest.approx(0.5)
    assert report["accuracy_difference"]["value"] == pytest.approx(2 / 3)
    low, high = report["accuracy_difference"]["ci95"]
    # Of three pictures, one or none of the two that tell them apart may be drawn.
    assert (low, high) == (0, 1)


def test_density_is_the_mean_over_classes():
    # p(x|0) = 1/2, p(x|1) = 1/8: p(x) = 5/16.
    evaluation = Evaluation(np.array([[0.8, 0.2]]), np.log([[1 / 2, 1 / 8]]))
    report = compare(np.array([0]), {"pixelcnnpp": evaluation}, (1, 1, 1), ("a", "b"))
    assert report["models"]["pixelcnnpp"]["bits_per_dim"] == pytest.approx(-np.log2(5 / 16))
    assert report["mcnemar_p"] is None
    assert report["accuracy_difference"] is None
    assert report["models"]["pixelcnnpp"]["temperature_scaling"] is None


def test_predictions_csv(tmp_path):
    path = tmp_path / "reports" / "predictions.csv"
    write_predictions(path, ["a, b.png", "c.png"], [1, -1], np.array([[0.25, 0.75], [1, 0]]))
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["path", "label", "predicted", "p_0", "p_1"],
        ["a, b.png", "1", "1", "0.25", "0.75"],
        ["c.png", "-1", "0", "1", "0"],
    ]


def test_predictions_of_a_file_whose_name_is_no_text(tmp_path):
    write_predictions(tmp_path / "a.csv", [os.fsdecode(b"caf\xe9.png")], [0], np.eye(2)[:1])
    assert b"\ncaf\xe9.png,0,0,1,0" in (tmp_path / "a.csv").read_bytes()


def test_details_by_hand_with_a_class_that_is_missing():
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


def test_temperature_scaling_mends_what_was_too_sure(rng):
    labels = rng.integers(0, 3, 600)
    logits = 2 * np.eye(3)[labels] + rng.normal(size=(600, 3)) * np.sqrt(2)
    # The class's true posterior has these logits; four times as sure is too sure.
    probabilities = np.exp(4 * logits) / np.exp(4 * logits).sum(axis=1, keepdims=True)
    report = compare(labels, {"a": Evaluation(probabilities)}, (1, 1, 1), ("a", "b", "c"))
    numbers = report["models"]["a"]
    scaled = numbers["temperature_scaling"]
    assert scaled["temperatures"] == pytest.approx([4, 4], rel=0.3)
    assert scaled["ece"] < numbers["ece"] / 2
    assert scaled["log_loss"] < numbers["log_loss"]


def test_figures(rng):
    labels, probabilities = np.array([0, 1, 1, 0]), rng.dirichlet(np.ones(12), 4)
    two = {"one": probabilities, "two": probabilities}
    names = [f"class {index}" for index in range(12)]
    sizes = []
    for content in (
        roc_png(labels, probabilities, names),
        roc_png(labels, probabilities[:, :2], names[:2], "title"),
        roc_png(np.zeros(4, int), probabilities[:, :2], names[:2]),
        reliability_png(labels, {"one": probabilities}),
        reliability_png(labels, two),
        selective_accuracy_png(labels, two),
    ):
        with Image.open(io.BytesIO(content)) as image:
            sizes.append(image.size)
    assert min(map(min, sizes)) > 300
    assert sizes[4][0] > 1.5 * sizes[3][0]


def test_confusion_matrix_is_a_png():
    png = confusion_matrix_png(np.array([0, 1, 1]), np.array([0, 1, 0]), ["cat", "dog", "none"])
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200
