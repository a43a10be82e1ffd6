"""Tests of benchmarks/robustness.py: corruptions, and the results of a tiny run."""

import keras
import numpy as np
import pytest
import robustness
import tiny
from sklearn.metrics import accuracy_score, roc_auc_score


def test_numbers_of_a_run(run):
    report = robustness.measure(run, "validation", max_examples=8)
    split = tiny.tiny_split(9, 1).some(8)
    corrupted = robustness.corrupt(split.images, "contrast", 4)
    numbers = report["corruptions"]["contrast"][3]
    model, baseline = map(keras.models.load_model, (run.model_keras, run.baseline_keras))
    for name, each in (("pixelcnnpp", model), ("baseline", baseline)):
        predicted = each.class_probabilities(corrupted).argmax(axis=1)
        accuracy = accuracy_score(split.labels, predicted)
        assert numbers["models"][name]["accuracy"] == accuracy
    bits = [model.bits_per_dim(images) for images in (split.images, corrupted)]
    area = roc_auc_score([0] * 8 + [1] * 8, np.concatenate(bits))
    assert numbers["auroc"]["log_likelihood"] == pytest.approx(area)
