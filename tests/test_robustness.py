"""benchmarks/robustness.py: the corruptions by hand, and the numbers of a tiny run."""

import keras
import numpy as np
import pytest
import tiny
from scripts import script
from sklearn.metrics import accuracy_score, roc_auc_score

from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN


@pytest.fixture(scope="module")
def benchmark():
    return script("benchmarks/robustness.py")


def test_corruptions_by_hand(benchmark, rng):
    image = np.uint8([[0, 100], [200, 100]])[None, ..., None]
    assert benchmark.corrupt(image, "contrast", 2).ravel().tolist() == [50, 100, 150, 100]
    assert benchmark.corrupt(image, "brightness", 4).ravel().tolist() == [100, 200, 255, 200]

    images = rng.integers(0, 100, (30, 20, 10, 3), dtype="uint8")
    blocks = images.reshape(30, 10, 2, 5, 2, 3).mean(axis=(2, 4))
    expected = blocks.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(benchmark.corrupt(images, "pixelation", 3), expected, atol=1)

    gray = np.any(benchmark.corrupt(images, "occlusion", 4) != images, axis=-1)
    assert list(gray.any(axis=2).sum(axis=1)) == [10] * 30
    assert set(gray.any(axis=2).argmax(axis=1)) == set(range(11))  # anywhere

    rows = np.arange(16, dtype="uint8")[None, :, None, None].repeat(16, axis=2)
    moved = benchmark.corrupt(rows.repeat(20, axis=0), "translation", 4)[:, 8, 0, 0]
    assert set(moved.tolist()) == {4, 12}


def test_numbers_of_a_run(benchmark, run):
    report = benchmark.measure(run, "validation", max_examples=8)
    split = tiny.tiny_split(9, 1).some(8)
    corrupted = benchmark.corrupt(split.images, "contrast", 4)
    numbers = report["corruptions"]["contrast"][3]
    model, baseline = map(keras.models.load_model, (run.model_keras, run.baseline_keras))
    assert isinstance(baseline, BaselineCNN)
    for name, each in (("pixelcnnpp", model), ("baseline", baseline)):
        predicted = each.class_probabilities(corrupted).argmax(axis=1)
        accuracy = accuracy_score(split.labels, predicted)
        assert numbers["models"][name]["accuracy"] == accuracy
    bits = [model.bits_per_dim(images) for images in (split.images, corrupted)]
    area = roc_auc_score([0] * 8 + [1] * 8, np.concatenate(bits))
    assert numbers["auroc"]["log_likelihood"] == pytest.approx(area)
