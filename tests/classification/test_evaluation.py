import csv

import numpy as np
import pytest

from keras_pixelcnnpp.classification import write_predictions
from keras_pixelcnnpp.classification.evaluation import Evaluation, compare


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


def test_density_is_the_mean_over_classes():
    # p(x|0) = 1/2, p(x|1) = 1/8: p(x) = 5/16.
    evaluation = Evaluation(np.array([[0.8, 0.2]]), np.log([[1 / 2, 1 / 8]]))
    report = compare(np.array([0]), {"pixelcnnpp": evaluation}, (1, 1, 1))
    assert report["models"]["pixelcnnpp"]["bits_per_dim"] == pytest.approx(-np.log2(5 / 16))
    assert report["mcnemar_p"] is None


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
