import math

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import norm

from keras_pixelcnnpp.evaluate.metrics.classifiers import (
    accuracy_difference_interval,
    accuracy_interval,
    auroc_interval,
    expected_calibration_error,
    mean_log_loss,
    one_vs_rest_auc,
)

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_calibration_error_is_tfps(rng):
    tfp = pytest.importorskip("tensorflow_probability")
    probabilities = rng.dirichlet(np.ones(4) * 0.5, 500).astype("float32")
    labels = rng.integers(0, 4, 500)
    logits = np.log(probabilities)
    expected = float(tfp.stats.expected_calibration_error(15, logits=logits, labels_true=labels))
    assert expected_calibration_error(labels, probabilities) == pytest.approx(expected, abs=1e-6)


def test_log_loss_by_hand():
    """Probabilities are not clipped, and classes may have no images."""
    probabilities = np.array([[0.5, 0.25, 0.25], [1 - 1e-30, 1e-30, 0]], "float32")
    expected = -(math.log(0.5) + math.log(1e-30)) / 2
    assert mean_log_loss(np.array([0, 1]), probabilities) == pytest.approx(expected, rel=1e-6)


def test_a_class_without_images_has_no_area(rng):
    areas = one_vs_rest_auc(np.array([0, 2, 0]), rng.dirichlet(np.ones(3), 3))
    assert areas[1] is None
    assert None not in (areas[0], areas[2])
    assert one_vs_rest_auc(np.zeros(3, int), np.eye(3)[:, :2]) == [None, None]


def test_accuracy_difference_is_the_normal_interval_of_many_images(rng):
    a = rng.random(2000) < 0.9
    b = np.where(rng.random(2000) < 0.9, a, rng.random(2000) < 0.5)
    low, high = accuracy_difference_interval(a, b)
    difference = a.astype(float) - b
    half = norm.ppf(0.975) * difference.std() / np.sqrt(2000)
    assert low == pytest.approx(difference.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(difference.mean() + half, abs=0.05 * half)
    # Without pairing, the interval would be wider.
    assert half < 0.7 * norm.ppf(0.975) * np.sqrt((a.var() + b.var()) / 2000)


class TestAurocInterval:
    def test_variance_is_that_of_all_pairs(self, rng):
        """Compares with DeLong's definition over all pairs of images."""
        inlying, outlying = rng.normal(size=60), rng.normal(0.7, 1.5, size=50)
        pairs = (outlying[:, None] > inlying).astype(float)
        variance = pairs.mean(axis=1).var(ddof=1) / 50 + pairs.mean(axis=0).var(ddof=1) / 60
        area, bounds = auroc_interval(inlying, outlying)
        half = 1.959964 * np.sqrt(variance) / (area * (1 - area))
        assert logit(bounds) == pytest.approx(logit(area) + half * np.array([-1, 1]), rel=1e-5)

    @pytest.mark.parametrize("correlation", [-0.9, 0.9])
    def test_paired_it_is_what_pairs_vary_by(self, rng, correlation):
        """Compares with the standard deviation of the area over many random sets of pairs."""
        areas, halves = [], []
        for _ in range(300):
            inlying = rng.normal(size=100)
            rest = rng.normal(size=100) * np.sqrt(1 - correlation**2)
            outlying = 0.5 + correlation * inlying + rest
            area, (low, high) = auroc_interval(inlying, outlying, paired=True)
            areas.append(area)
            halves.append((high - low) / 2)
        assert np.mean(halves) == pytest.approx(1.96 * np.std(areas), rel=0.15)

    @pytest.mark.parametrize("shift", [-9, 9])
    def test_without_a_mistake_it_is_not_sure(self, shift):
        area, (low, high) = auroc_interval(np.arange(5) / 9, np.arange(8) / 9 + shift)
        assert area == (shift > 0)
        assert 0.3 < high - low < 0.6

    def test_where_all_scores_are_the_same_it_knows_nothing(self):
        area, (low, high) = auroc_interval(np.full(12, -1.0), np.full(20, -1.0))
        assert area == 0.5
        assert (low, high) == pytest.approx(accuracy_interval(6, 12))
