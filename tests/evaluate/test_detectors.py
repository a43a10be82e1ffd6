import io
import json

import enumeration
import numpy as np
import pytest
import tiny
from PIL import Image
from scipy.stats import mannwhitneyu

from keras_pixelcnnpp.classifiers import BaselineClassifier
from keras_pixelcnnpp.evaluate.detectors import Detection, density_scores, png_bits

IMAGES = tiny.tiny_split(9).images


class HalfSure:
    """Probabilities that tell how bright the first pixel is."""

    num_classes, image_shape, num_levels = 2, (4, 4, 1), 5

    def class_probabilities(self, images, batch_size, verbose):
        first = 0.5 + images[:, 0, 0] / 10
        return np.concatenate([first, 1 - first], axis=1)


@pytest.fixture(scope="module")
def model():
    # Its weights come from NumPy: the same under every backend.
    return enumeration.enumerable_model((4, 4, 1), num_classes=3, num_levels=5)


def test_scores_by_hand(model):
    scores = density_scores(IMAGES, model)
    each = np.stack([model.log_prob(IMAGES, np.full(9, label)) for label in range(3)], axis=1)
    each = np.exp(each.astype("float64"))
    bits = -np.log2(each.mean(axis=1)) / 16
    assert scores["log_likelihood"] == pytest.approx(bits, rel=1e-4)
    posterior = each / each.sum(axis=1, keepdims=True)
    assert scores["pixelcnnpp_max_softmax"] == pytest.approx(-posterior.max(axis=1), abs=1e-4)
    corrected = bits - png_bits(IMAGES, 5) / 16
    assert scores["complexity_corrected"] == pytest.approx(corrected, rel=1e-4)


def test_a_model_without_classes_has_a_density_too():
    scores = density_scores(IMAGES, tiny.tiny_model(num_classes=0, conditioning="none"))
    assert set(scores) == {"log_likelihood", "complexity_corrected"}


def test_ratio_to_the_background_by_hand(model):
    """Whichever labels the background model knows."""
    background = enumeration.enumerable_model((4, 4, 1), num_classes=0, num_levels=5)
    detection = Detection.run(IMAGES[:5], {"others": IMAGES[5:]}, model, background=background)
    each = np.stack([model.log_prob(IMAGES, np.full(9, label)) for label in range(3)], axis=1)
    log_prob = np.log(np.exp(each.astype("float64")).mean(axis=1))
    ratio = (background.log_prob(IMAGES) - log_prob) / (16 * np.log(2))
    assert detection.familiar["likelihood_ratio"] == pytest.approx(ratio[:5], abs=1e-5)
    assert detection.foreign["others"]["likelihood_ratio"] == pytest.approx(ratio[5:], abs=1e-5)
    assert "background" in detection.report()["detectors"]["likelihood_ratio"]


def test_area_is_the_mann_whitney_statistic(model, rng):
    noise = rng.integers(0, 5, (7, 4, 4, 1), dtype="uint8")
    detection = Detection.run(IMAGES, {"noise": noise}, model, BaselineClassifier(HalfSure()))
    assert list(detection.familiar)[-1] == "baseline_max_softmax"
    for detector, (area, (low, high)) in detection.auroc("noise").items():
        foreign, familiar = detection.foreign["noise"][detector], detection.familiar[detector]
        expected = mannwhitneyu(foreign, familiar).statistic / (7 * 9)
        assert area == pytest.approx(expected)
        assert low <= area <= high
    expected = -(0.5 + IMAGES[:, 0, 0, 0] / 10)
    assert detection.familiar["baseline_max_softmax"] == pytest.approx(expected)


def test_report():
    familiar = {"log_likelihood": np.array([1.0, 2.0])}
    foreign = {
        "far": {"log_likelihood": np.array([3.0, 5.0])},
        "near": {"log_likelihood": np.array([0.0, 1.5])},
    }
    report = Detection(familiar, foreign).report()
    assert json.loads(json.dumps(report)) == report
    assert list(report["detectors"]) == ["log_likelihood"]
    assert report["familiar"] == {"count": 2, "bits_per_dim": 1.5}
    far = report["inputs"]["far"]
    assert (far["count"], far["bits_per_dim"], far["auroc"]) == (2, 4, {"log_likelihood": 1})
    low, high = far["auroc_ci95"]["log_likelihood"]
    assert low < high == 1
    assert report["inputs"]["near"]["auroc"] == {"log_likelihood": 0.25}
    assert report["mean_auroc"] == {"log_likelihood": 0.625}


class TestPngBits:
    def test_noise_needs_its_entropy_and_a_constant_next_to_nothing(self, rng):
        noise = rng.integers(0, 256, (2, 64, 64, 3), dtype="uint8")
        entropy = 8 * noise[0].size
        assert png_bits(noise, 256) == pytest.approx([entropy, entropy], rel=0.02)
        assert png_bits(np.zeros_like(noise), 256).max() < 0.02 * entropy

    def test_is_the_size_of_a_file(self, rng):
        levels = rng.integers(0, 17, (1, 8, 8, 1), dtype="uint8")
        file = io.BytesIO()
        Image.fromarray(np.rint(levels[0, ..., 0] * (255 / 16)).astype("uint8")).save(file, "PNG")
        assert png_bits(levels, 17)[0] == 8 * len(file.getvalue())
