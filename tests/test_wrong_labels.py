"""benchmarks/wrong_labels.py, on a run whose wrong labels are known."""

import keras
import numpy as np
import pytest
import tiny
from scripts import script
from sklearn.metrics import roc_auc_score

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.run import RunFolder


@pytest.fixture(scope="module")
def benchmark():
    return script("benchmarks/wrong_labels.py")


def test_numbers_by_hand(benchmark):
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    # Of the given labels 0.1, 0.8, 0.6 and 0.7: the first wrong one is the most suspicious, the
    # second the least.
    given, wrong = np.array([1, 1, 0, 0]), np.array([True, True, False, False])
    numbers = benchmark.found(given, wrong, probabilities)
    assert (numbers["auroc"], numbers["precision"]) == (0.5, 0.5)


def test_the_run_knows_which_labels_it_made_wrong(benchmark, pixelcnnpp, tmp_path):
    data, folder = tiny.save_npz(tmp_path / "tiny.npz"), RunFolder(tmp_path / "run")
    options = ("--data", data, "--run", folder.path, "--num-levels", 5, "--epochs", 1)
    command = ("train", "baseline", *options, "--flip-labels", 0.25, "--labels-per-class", 6)
    status, out, _ = pixelcnnpp(*command)
    assert status == 0
    assert "18 pictures keep their label" in out
    assert "4 pictures have a wrong label" in out  # of 18, rounded
    model = tiny.tiny_model()
    model.save(folder.model_keras)
    report = benchmark.measure(folder)
    assert (report["count"], report["wrong"]) == (18, 4)
    train = load_dataset(data, num_levels=5).split("train")
    labels = benchmark.training_labels(train, folder.read_config()["data"])
    known = labels >= 0
    for name, judge in (
        ("pixelcnnpp", model),
        ("baseline", keras.models.load_model(folder.baseline_keras)),
    ):
        given = judge.class_probabilities(train.images)[np.arange(24), labels]
        area = roc_auc_score((labels != train.labels)[known], -given[known])
        # Ranks of nearly equal probabilities depend on the rounding.
        assert report["models"][name]["auroc"] == pytest.approx(area, abs=0.05)


def test_a_run_without_wrong_labels(benchmark, tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "config.json").write_text('{"data": {}}')
    with pytest.raises(SystemExit, match="without --flip-labels"):
        benchmark.measure(folder)
