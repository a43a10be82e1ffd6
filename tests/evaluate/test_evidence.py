import io
import json

import enumeration
import keras
import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.evidence import Evidence, choose, evidence_png, half_within

NAMES = ("dark", "grey", "bright")


@pytest.fixture(scope="module")
def model():
    # Its weights come from NumPy: the same under every backend.
    return enumeration.enumerable_model((4, 4, 1), num_classes=3, num_levels=5)


@pytest.fixture(scope="module")
def evidence(model):
    return Evidence.gather(PixelCNNClassifier(model), tiny.tiny_split(12), per_class=3)


def test_against_is_the_likeliest_other_class(model, evidence):
    labels = evidence.pictures.labels
    scores = model.class_log_likelihoods(evidence.pictures.images)
    for row, label in enumerate(labels):
        order = [index for index in np.argsort(-scores[row]) if index != label]
        assert evidence.against[row] == order[0]
        assert evidence.predicted[row] == scores[row].argmax()
        difference = scores[row, label] - scores[row, order[0]]
        assert evidence.maps[row].sum() == pytest.approx(difference, abs=1e-4)


def test_report(evidence):
    report = evidence.report(NAMES)
    assert report["count"] == 9
    assert [row["label"] for row in report["pictures"]] == [n for n in NAMES for _ in range(3)]
    for row in report["pictures"]:
        assert (row["nats"] >= 0) == (row["predicted"] == row["label"])
        if row["nats"] < 0:
            assert row["predicted"] == row["against"]


def test_half_of_the_pictures_are_mistakes_where_there_are_so_many():
    labels = np.array([0] * 5 + [1] * 4)
    predicted = np.array([0, 1, 0, 1, 1, 1, 1, 1, 1])
    assert list(choose(labels, predicted, 4)) == [0, 2, 1, 3, 5, 6, 7, 8]
    assert list(choose(labels, predicted, 2)) == [0, 1, 5, 6]
    assert list(choose(labels, predicted, 1)) == [0, 5]
    assert list(choose(labels, np.ones(9, int), 3)) == [0, 1, 2, 5, 6, 7]


def test_half_within():
    alike = np.ones((1, 4, 4))
    one = np.zeros((1, 4, 4))
    one[0, 2, 1] = -3
    quarter = np.zeros((1, 4, 4))
    quarter[0, 1] = [1, -2, -1, 2]
    assert list(half_within(np.concatenate([alike, one, quarter, 0 * one]))) == [
        0.5,
        1 / 16,
        2 / 16,
        0.5,
    ]


def test_picture(evidence):
    with Image.open(io.BytesIO(evidence_png(evidence, NAMES, 5))) as image:
        # Three pictures beside their maps, three classes.
        assert image.width > image.height > 300


def test_channels_that_cannot_be_drawn():
    images = np.zeros((1, 2, 2, 2), "uint8")
    pictures = tiny.LabelledImages(images, np.zeros(1, "int32"), ("a",))
    evidence = Evidence(pictures, np.zeros(1, int), np.ones(1, int), np.zeros((1, 2, 2)))
    with pytest.raises(UserError, match="Received: 2 channels"):
        evidence_png(evidence, NAMES, 5)


def test_command(pixelcnnpp, run):
    status, out, _ = pixelcnnpp("evaluate", "evidence", "--run", run.path, "--per-class", 2)
    assert status == 0
    assert str(run.reports) in out
    with Image.open(run.reports / "evidence.png") as image:
        assert min(image.size) > 200
    report = json.loads((run.reports / "evidence.json").read_text())
    assert report["options"] == {"split": "validation", "per_class": 2, "batch_size": 32}
    assert (report["split"], report["count"], report["temperature"]) == ("validation", 6, 1)
    model = keras.models.load_model(run.model_keras)
    split = tiny.tiny_split(9, 1)
    for row in report["pictures"]:
        index = split.paths.index(f"picture/{row['path'].split('/')[-1].lstrip('0') or 0}")
        scores = model.class_log_likelihoods(split.images[index : index + 1])[0]
        assert row["label"] == NAMES[split.labels[index]]
        difference = scores[NAMES.index(row["label"])] - scores[NAMES.index(row["against"])]
        assert row["nats"] == pytest.approx(difference, abs=1e-3)


def test_command_needs_labels(pixelcnnpp, run):
    one_line(pixelcnnpp("evaluate", "evidence", "--run", run.path, "--split", "test"), "no labels")


# That of foreign pictures begins as this one does.
@pytest.mark.parametrize("command", ["evidence", "foreign"])
def test_bad_input(pixelcnnpp, run, tmp_path, command):
    one_line(pixelcnnpp("evaluate", command, "--run", tmp_path / "none"), "No run in")
    one_line(pixelcnnpp("evaluate", command, "--run", run.path, "--split", "tset"), "validation")
    run.model_keras.unlink()
    one_line(pixelcnnpp("evaluate", command, "--run", run.path), "pixelcnnpp train pixelcnnpp")
