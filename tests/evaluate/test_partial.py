import io
import json

import keras
import numpy as np
import pytest
import tiny
from html_page import HtmlPage
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, log_loss

from keras_pixelcnnpp.evaluate.partial import Parts, partial_png, partial_report


def test_rest_is_the_mean_picture():
    train = np.zeros((3, 2, 2, 1), "uint8")
    train[:, 1, 0, 0] = [0, 1, 4]  # 1.67
    train[:, 1, 1, 0] = [7, 8, 9]
    parts = Parts.of(train)
    assert list(parts.rows) == [0, 1, 2]
    images = np.arange(8, dtype="uint8").reshape(2, 2, 2, 1)
    none, half, whole = parts.pictures(images)
    assert none[..., 0].tolist() == [[[0, 0], [2, 8]]] * 2
    assert half[..., 0].tolist() == [[[0, 1], [2, 8]], [[4, 5], [2, 8]]]
    np.testing.assert_array_equal(whole, images)
    assert none.dtype == half.dtype == np.uint8


@pytest.mark.parametrize(("height", "count"), [(1, 2), (8, 9), (16, 17), (28, 17), (64, 17)])
def test_parts_are_few_and_reach_from_nothing_to_all(height, count):
    rows = Parts.of(np.zeros((1, height, 1, 1), "uint8")).rows
    assert len(rows) == count
    assert (rows[0], rows[-1]) == (0, height)
    assert np.diff(rows).min() >= 1
    assert np.diff(rows).max() <= np.diff(rows).min() + 1


def test_numbers_are_those_of_scikit_learn_and_scipy(rng):
    labels = rng.integers(0, 3, 40)
    probabilities = rng.dirichlet(np.ones(3), (40, 4))
    report = partial_report(labels, np.array([0, 2, 4, 8]), {"pixelcnnpp": probabilities})
    assert report["shares"] == [0, 0.25, 0.5, 1]
    numbers = report["models"]["pixelcnnpp"]
    for part in range(4):
        given = probabilities[:, part]
        accuracy = accuracy_score(labels, given.argmax(axis=1))
        assert numbers["accuracy"][part] == accuracy
        interval = binomtest(round(40 * accuracy), 40).proportion_ci(method="wilson")
        assert numbers["accuracy_ci95"][part] == pytest.approx(list(interval))
        assert numbers["log_loss"][part] == pytest.approx(log_loss(labels, given))
    with Image.open(io.BytesIO(partial_png(report, {"pixelcnnpp": "PixelCNN++"}))) as image:
        assert image.width > image.height > 300


def test_command(pixelcnnpp, run):
    status, out, _ = pixelcnnpp("evaluate", "classification", "--run", run.path, "--partial")
    assert status == 0
    assert "Accuracy by the share of the picture seen" in out
    report = json.loads((run.reports / "partial.json").read_text())
    assert (report["split"], report["count"], report["rows"]) == ("validation", 9, [0, 1, 2, 3, 4])
    train, split = tiny.tiny_split(24, 0), tiny.tiny_split(9, 1)
    model = keras.models.load_model(run.model_keras)
    judged = model.class_probabilities(split.images, known_rows=range(5))
    right = (judged.argmax(axis=-1) == split.labels[:, None]).mean(axis=0)
    assert report["models"]["pixelcnnpp"]["accuracy"] == pytest.approx(right)
    mean = np.rint(train.images.mean(axis=0)).astype("uint8")
    baseline = keras.models.load_model(run.baseline_keras)
    for rows, accuracy in enumerate(report["models"]["baseline"]["accuracy"]):
        seen = np.where(np.arange(4)[:, None, None] < rows, split.images, mean)
        predicted = baseline.class_probabilities(seen).argmax(axis=1)
        assert accuracy == accuracy_score(split.labels, predicted)
    whole = json.loads((run.reports / "classification.json").read_text())
    assert whole["options"]["partial"] is True
    for name, numbers in report["models"].items():
        assert numbers["accuracy"][-1] == whole["models"][name]["accuracy"]
        assert numbers["log_loss"][-1] == whole["models"][name]["log_loss"]
    page = pixelcnnpp("evaluate", "report", "--run", run.path)
    assert page[0] == 0
    text = HtmlPage((run.reports / "index.html").read_text(encoding="utf-8")).text
    assert "Part of a picture" in text
    assert "classification --partial --split validation --batch-size 32" in text


def test_command_without_baseline_or_labels(pixelcnnpp, run_without_baseline):
    run = run_without_baseline
    command = ("evaluate", "classification", "--run", run.path, "--partial", "--flip-average")
    assert pixelcnnpp(*command)[0] == 0
    report = json.loads((run.reports / "partial.json").read_text())
    assert list(report["models"]) == ["pixelcnnpp"]
    (run.reports / "partial.json").unlink()
    assert pixelcnnpp(*command, "--split", "test")[0] == 0
    assert not (run.reports / "partial.json").exists()
