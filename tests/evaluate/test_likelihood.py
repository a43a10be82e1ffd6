import numpy as np
import pytest
import tiny
from command_line import done, one_line
from scipy.stats import norm

from keras_pixelcnnpp.evaluate.likelihood import (
    independent_bits,
    likelihood_report,
    neighbor_correlations,
)
from keras_pixelcnnpp.models.statistics import PixelStatistics
from keras_pixelcnnpp.utils.files import read_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def made_up(rng, scale=1.0, correlation=0.0, count=400):
    """Statistics of a model of Gaussian pixels, whose residuals have another law."""
    scores = rng.normal(size=(count, 6, 7, 2))
    scores[:, :, 1:] = (
        correlation * scores[:, :, :-1] + np.sqrt(1 - correlation**2) * scores[:, :, 1:]
    )
    scores *= scale
    ones = np.ones(scores.shape, "float32")
    entropy = ones * (0.5 * np.log(2 * np.pi * np.e)).astype("float32")
    pit = norm.cdf(scores).astype("float32")
    return PixelStatistics(norm.logpdf(scores).astype("float32"), entropy, 0.5 * ones, pit)


def test_a_true_model(rng):
    report = likelihood_report(made_up(rng))
    assert report["coverage"] == {
        "0.5": pytest.approx(0.5, abs=0.02),
        "0.9": pytest.approx(0.9, abs=0.01),
    }
    assert np.ptp(report["pit_histogram"]) < 0.01
    assert abs(report["z_mean"]) < 0.2
    assert report["z_std"] == pytest.approx(1, abs=0.15)
    assert "400 images show no error" in report["interpretation"]


def test_few_images_show_no_error_that_chance_explains(rng):
    """About 5% of the intervals miss the truth; for 20 images and 400 sets, at most 10%."""
    reports = [likelihood_report(made_up(rng, count=20)) for _ in range(400)]
    coverages = np.array([report["coverage_ci95"]["0.9"] for report in reports])
    excesses = np.array([report["excess_mean_ci95"] for report in reports])
    for intervals, truth in ((coverages, 0.9), (excesses, 0)):
        missed = np.mean((intervals[:, 0] > truth) | (intervals[:, 1] < truth))
        assert 0.01 < missed < 0.1


def test_a_false_model(rng):
    statistics = made_up(rng, 1.3, 0.5)
    report = likelihood_report(statistics)
    expected = 1 - 2 * norm.sf(norm.isf(0.05) / 1.3)
    assert report["coverage"]["0.9"] == pytest.approx(expected, abs=0.01)
    assert "they are too narrow" in report["interpretation"]
    assert "images are more surprising than samples" in report["interpretation"]
    right, below = neighbor_correlations(statistics)
    assert right.shape == (6, 6)
    assert below.shape == (5, 7)
    assert right.mean() == pytest.approx(report["correlation_right"])
    assert right.mean() > 0.3
    assert abs(below).max() < 0.3
    shifted = made_up(rng, 1.0, 0.0)
    shifted = shifted._replace(pit=norm.cdf(norm.ppf(shifted.pit) + 2))
    for correlation in neighbor_correlations(shifted):
        assert abs(correlation).max() < 0.3
    bits = -statistics.log_prob.sum(axis=(1, 2, 3)) / 84 / np.log(2)
    low, high = report["bits_per_dim_ci95"]
    assert (low + high) / 2 == pytest.approx(bits.mean(), rel=1e-4)
    assert high - low == pytest.approx(2 * 1.96 * bits.std() / 20, rel=0.01)


def test_independent_pixels_by_counting():
    """Each of the five levels is counted once more."""
    model = tiny.untrained_pixelcnn()
    train, images = tiny.tiny_split(24).images, tiny.tiny_split(9, 1).images
    seen, asked = (np.rint(some / 63.75).astype(int) for some in (train, images))
    expected = np.zeros(9)
    for image, row, column in np.ndindex(9, 4, 4):
        same = np.sum(seen[:, row, column, 0] == asked[image, row, column, 0])
        expected[image] -= np.log2((same + 1) / (24 + 5)) / 16
    np.testing.assert_allclose(independent_bits(model, train, images), expected)
    assert independent_bits(model, train[:0], images) is None


@pytest.mark.parametrize(
    ("difference", "words"),
    [(-1, "Warning: the model is worse"), (1, "is better"), (0, "The model is no better")],
)
def test_a_model_beside_independent_pixels(rng, difference, words):
    statistics = made_up(rng, count=50)
    bits = -statistics.log_prob.sum(axis=(1, 2, 3)) / 84 / np.log(2)
    independent = bits + difference + rng.choice([-0.1, 0.1], 50)
    report = likelihood_report(statistics, independent)
    text = f"instead of {independent.mean():.3f} bits/dim"
    assert words in report["interpretation"]
    assert text in report["interpretation"]
    assert "independent" not in likelihood_report(statistics)["interpretation"]


def test_what_is_shown(measured):
    report, model = measured.report("likelihood"), measured.model
    assert report["interpretation"] in measured.printed["likelihood"]
    assert report["count"] == 7
    rows = np.sort(np.random.default_rng(0).permutation(9)[:7])
    images = tiny.tiny_split(9, 1).images[rows]
    assert report["bits_per_dim"] == pytest.approx(model.bits_per_dim(images).mean(), rel=1e-4)
    independent = independent_bits(model, tiny.tiny_split(24).images, images).mean()
    assert report["independent_bits_per_dim"] == pytest.approx(independent)
    statistics = model.pixel_statistics(images, seed=0)
    left, _, right = measured.figures["likelihood"][0].axes[:3]
    (bars,) = left.patches
    density, _ = np.histogram(statistics.pit, 20, (0, 1), density=True)
    np.testing.assert_allclose(bars.get_data().values, density, rtol=1e-6)
    scores = norm.ppf(np.clip(statistics.pit[..., 0], 1e-6, 1 - 1e-6))
    scores = (scores - scores.mean()) / scores.std()
    products = np.zeros((7, 4, 4))
    products[:, :, :3] += scores[:, :, :3] * scores[:, :, 1:] / 2
    products[:, :3] += scores[:, :3] * scores[:, 1:] / 2
    shown = right.images[0].get_array()
    np.testing.assert_allclose(shown, products.mean(axis=0), atol=1e-4)


def test_images_that_were_trained_on_are_told(pixelcnnpp, run):
    out = done(pixelcnnpp("evaluate", "likelihood", "--run", run.path, "--split", "train"))
    assert "Warning: 24 of 24 images were trained on." in out


@pytest.mark.parametrize("subject", ["likelihood", "ood"])
def test_a_single_image(pixelcnnpp, run, tmp_path, subject):
    split = tiny.tiny_split(1)
    names = read_json(run.config_json)["data"]["class_names"]
    np.savez(tmp_path / "one.npz", x_test=split.images, y_test=split.labels, class_names=names)
    result = pixelcnnpp("evaluate", subject, "--run", run.path, "--data", tmp_path / "one.npz")
    one_line(result, "Expected at least two images in the split test. Received: 1")
