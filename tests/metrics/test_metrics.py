import math

import numpy as np
import pytest
from scipy.stats import binomtest

from keras_pixelcnnpp.metrics import (
    PixelHistogram,
    accuracy_interval,
    bits_per_dim,
    classification_metrics,
    expected_calibration_error,
    mcnemar_p_value,
)


@pytest.mark.parametrize(("correct", "count"), [(0, 10), (7, 10), (520, 520), (300, 599)])
def test_interval_is_scipys(correct, count):
    expected = binomtest(correct, count).proportion_ci(0.95, method="wilson")
    assert accuracy_interval(correct, count) == pytest.approx((expected.low, expected.high))


def test_bits_per_dim_of_a_uniform_density():
    assert bits_per_dim(np.full(3, -12 * math.log(256)), (2, 2, 3)) == pytest.approx([8, 8, 8])


def test_mcnemar_is_a_binomial_test(rng):
    a, b = rng.random(200) < 0.9, rng.random(200) < 0.8
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    assert mcnemar_p_value(a, b) == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert mcnemar_p_value(a, a) == 1.0


def test_calibration_error_by_hand():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    # Bin of 0.9: two of three right, 0.9 claimed. Bin of 0.6: right, 0.6 claimed.
    expected = (3 * abs(2 / 3 - 0.9) + 1 * abs(1 - 0.6)) / 4
    assert expected_calibration_error(labels, probabilities, 10) == pytest.approx(expected)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_calibration_error_is_tfps(rng):
    tfp = pytest.importorskip("tensorflow_probability")
    probabilities = rng.dirichlet(np.ones(4) * 0.5, 500).astype("float32")
    labels = rng.integers(0, 4, 500)
    expected = tfp.stats.expected_calibration_error(
        15, logits=np.log(probabilities), labels_true=labels
    )
    assert expected_calibration_error(labels, probabilities) == pytest.approx(
        float(expected), abs=1e-6
    )


def test_perfect_classifier():
    metrics = classification_metrics(np.array([0, 1, 2]), np.eye(3))
    assert metrics["accuracy"] == 1
    assert metrics["accuracy_ci95"][1] == pytest.approx(1)
    assert metrics["log_loss"] == pytest.approx(0, abs=1e-6)
    assert metrics["ece"] == pytest.approx(0)


def test_log_loss_by_hand_with_a_class_that_does_not_occur():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1]], "float32")
    metrics = classification_metrics(np.array([0, 1]), probabilities)
    assert metrics["log_loss"] == pytest.approx(-(math.log(0.5) + math.log(0.7)) / 2, rel=1e-6)


class TestPixelHistogram:
    def test_sums_to_one_over_all_pictures(self, rng):
        histogram = PixelHistogram(rng.integers(0, 3, (5, 1, 2, 1), dtype="uint8"), num_levels=3)
        every = np.array([[a, b] for a in range(3) for b in range(3)], "uint8").reshape(9, 1, 2, 1)
        assert np.exp(histogram.log_prob(every)).sum() == pytest.approx(1)

    def test_counts_by_hand(self):
        images = np.array([0, 0, 0, 1], "uint8").reshape(4, 1, 1, 1)
        histogram = PixelHistogram(images, num_levels=4)
        probabilities = np.exp(histogram.log_prob(np.arange(4, dtype="uint8").reshape(4, 1, 1, 1)))
        assert probabilities == pytest.approx([4 / 8, 2 / 8, 1 / 8, 1 / 8])
