import json

import keras
import numpy as np
import pytest
import tiny
from command_line import one_line
from html_page import HtmlPage
from PIL import Image
from sklearn.metrics import accuracy_score, roc_auc_score

from keras_pixelcnnpp.evaluate.corruptions import CORRUPTIONS, corrupt


def test_command(pixelcnnpp, run):
    status, out, _ = pixelcnnpp("evaluate", "robustness", "--run", run.path, "--limit", 8)
    assert status == 0
    assert "AUROC against the clean pictures" in " ".join(out.split())
    report = json.loads((run.reports / "robustness.json").read_text())
    assert (report["split"], report["count"], report["seed"]) == ("validation", 8, 0)
    assert list(report["corruptions"]) == list(CORRUPTIONS)
    split = tiny.tiny_split(9, 1).some(8)
    model, baseline = map(keras.models.load_model, (run.model_keras, run.baseline_keras))
    spoilt = corrupt(split.images, 5, "contrast", 4)
    numbers = report["corruptions"]["contrast"][3]
    predicted = baseline.class_probabilities(spoilt).argmax(axis=1)
    assert numbers["models"]["baseline"]["accuracy"] == accuracy_score(split.labels, predicted)
    predicted = model.class_probabilities(spoilt).argmax(axis=1)
    assert numbers["models"]["pixelcnnpp"]["accuracy"] == accuracy_score(split.labels, predicted)
    bits = [model.bits_per_dim(images).astype("float64") for images in (split.images, spoilt)]
    assert numbers["bits_per_dim"] == pytest.approx(bits[1].mean(), rel=1e-5)
    area = roc_auc_score([0] * 8 + [1] * 8, np.concatenate(bits))
    assert numbers["auroc"]["log_likelihood"] == pytest.approx(area)
    for measured in report["corruptions"].values():
        assert len(measured) == 5
        for at in measured:
            for alarm, (low, high) in at["auroc_ci95"].items():
                assert 0 <= low <= at["auroc"][alarm] <= high <= 1
    with Image.open(run.reports / "robustness.png") as image:
        assert min(image.size) > 800
    assert pixelcnnpp("evaluate", "report", "--run", run.path)[0] == 0
    text = HtmlPage((run.reports / "index.html").read_text(encoding="utf-8")).text
    assert "Robustness" in text
    assert "evaluate robustness --limit 8" in text


def test_command_without_baseline(pixelcnnpp, run_without_baseline):
    run = run_without_baseline
    assert pixelcnnpp("evaluate", "robustness", "--run", run.path, "--limit", 4)[0] == 0
    report = json.loads((run.reports / "robustness.json").read_text())
    assert list(report["clean"]["models"]) == ["pixelcnnpp"]
    assert list(report["alarms"]) == ["log_likelihood", "pixelcnnpp_max_softmax"]


def test_command_needs_labels(pixelcnnpp, run):
    command = ("evaluate", "robustness", "--run", run.path, "--split", "test")
    one_line(pixelcnnpp(*command), "no labelled picture to measure on")
