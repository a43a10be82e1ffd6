import csv
import os

import numpy as np
import pytest
import tiny
from sklearn.base import is_classifier
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.validation import check_is_fitted

from keras_pixelcnnpp.classifiers import (
    BaselineClassifier,
    PixelCNNClassifier,
    write_predictions,
)
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN


class BrightnessModel:
    """Says class 0, 1 or 2 by the mean level."""

    num_classes = 3
    image_shape = (4, 4, 1)
    num_levels = 5

    def class_probabilities(self, images, batch_size, verbose):
        distance = np.abs(images.mean(axis=(1, 2, 3))[:, None] - [1.0, 2.0, 3.0])
        return np.exp(-9 * distance) / np.exp(-9 * distance).sum(axis=1, keepdims=True)


@pytest.fixture
def classifier():
    return BaselineClassifier(BrightnessModel())


def test_behaves_as_a_fitted_classifier(classifier):
    split = tiny.tiny_split(30)
    assert is_classifier(classifier)
    check_is_fitted(classifier)
    assert classifier.fit(None, None) is classifier
    assert list(classifier.classes_) == [0, 1, 2]
    predicted = classifier.predict(split.images)
    assert classifier.score(split.images, split.labels) == accuracy_score(split.labels, predicted)
    assert classifier.score(split.images, split.labels) > 0.9
    assert classifier.predict_proba(split.images).sum(axis=1) == pytest.approx(np.ones(30))


def test_scikit_learns_tools_take_it(classifier):
    split = tiny.tiny_split(30)
    display = ConfusionMatrixDisplay.from_estimator(classifier, split.images, split.labels)
    assert display.confusion_matrix.sum() == 30
    scores = cross_val_score(classifier, split.images, split.labels, cv=3)
    assert scores.shape == (3,)


def test_no_pictures_no_rows(classifier):
    assert classifier.predict_proba(np.zeros((0, 4, 4, 1), "uint8")).shape == (0, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4, 1), "float32"), "dtype=float32"),
        (np.zeros((2, 4, 4, 3), "uint8"), r"\(None, 4, 4, 1\)"),
        (np.zeros((4, 4, 1), "uint8"), r"shape=\(4, 4, 1\)"),
        (np.full((2, 4, 4, 1), 5, "uint8"), "levels from 0 to 4"),
    ],
)
def test_bad_pictures(images, message):
    cnn = BaselineCNN((4, 4, 1), 3, num_levels=5, filters=(4,), num_blocks=1)
    for classifier in (BaselineClassifier(cnn), PixelCNNClassifier(tiny.untrained_model())):
        with pytest.raises(ValueError, match=message):
            classifier.predict(images)


def test_pixelcnn_classifies_by_bayes_rule():
    model = tiny.tiny_model()
    classifier = PixelCNNClassifier(model)
    images = tiny.tiny_split(7).images
    each = np.stack([model.log_prob(images, np.full(7, label)) for label in range(3)], axis=1)
    scores, probabilities = classifier.class_scores(images)
    assert scores == pytest.approx(each, abs=1e-4)
    joint = np.exp(each.astype("float64"))
    assert probabilities == pytest.approx(joint / joint.sum(axis=1, keepdims=True), abs=1e-5)
    assert (classifier.predict(images) == each.argmax(axis=1)).all()


def test_unconditional_model_is_no_classifier():
    with pytest.raises(ValueError, match="trained with labels"):
        PixelCNNClassifier(tiny.tiny_model(num_classes=0, conditioning="none"))


class SideModel(BrightnessModel):
    """Says class 0 or 2 by which half is brighter."""

    def class_probabilities(self, images, batch_size, verbose):
        left = images[:, :, :2].mean(axis=(1, 2, 3)) > images[:, :, 2:].mean(axis=(1, 2, 3))
        return np.where(left[:, None], [0.9, 0.0, 0.1], [0.3, 0.0, 0.7])


def test_flip_average_of_probabilities():
    images = tiny.tiny_split(2).images
    images[0, :, :2], images[0, :, 2:] = 4, 0
    images[1, :, :2], images[1, :, 2:] = 0, 4
    classifier = BaselineClassifier(SideModel(), flip_average=True)
    assert classifier.predict_proba(images) == pytest.approx(np.array([[0.6, 0, 0.4]] * 2))


def test_flip_average_of_log_likelihoods():
    model = tiny.tiny_model()
    images = tiny.tiny_split(7).images
    classifier = PixelCNNClassifier(model, flip_average=True)
    scores, probabilities = classifier.class_scores(images)
    flipped = model.class_log_likelihoods(np.flip(images, axis=2)).astype("float64")
    assert scores == pytest.approx(model.class_log_likelihoods(images), abs=1e-4)
    root = np.exp((scores + flipped) / 2)
    assert probabilities == pytest.approx(root / root.sum(axis=1, keepdims=True), abs=1e-5)
    assert np.abs(flipped - scores).max() > 0.1


def test_posterior_distinguishes_how_sure_it_is(monkeypatch):
    """float32 would know only 1 for both."""
    model = tiny.tiny_model()
    scores = np.array([[0, -20, -90], [-25, 0, -90]], "float32")
    monkeypatch.setattr(model, "class_log_likelihoods", lambda *_, **__: scores)
    unsure = 1 - PixelCNNClassifier(model).predict_proba(tiny.tiny_split(2).images).max(axis=1)
    assert unsure == pytest.approx(np.exp([-20, -25]), rel=1e-3)


class TestPredictions:
    def test_csv(self, tmp_path):
        path = tmp_path / "reports" / "predictions.csv"
        write_predictions(path, ["a, b.png", "c.png"], [1, -1], np.array([[0.25, 0.75], [1, 0]]))
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows == [
            ["path", "label", "predicted", "p_0", "p_1"],
            ["a, b.png", "1", "1", "0.25", "0.75"],
            ["c.png", "-1", "0", "1", "0"],
        ]

    def test_of_a_file_whose_name_is_no_text(self, tmp_path):
        write_predictions(tmp_path / "a.csv", [os.fsdecode(b"caf\xe9.png")], [0], np.eye(2)[:1])
        assert b"\ncaf\xe9.png,0,0,1,0" in (tmp_path / "a.csv").read_bytes()
