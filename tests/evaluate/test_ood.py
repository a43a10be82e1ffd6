import enumeration
import keras
import numpy as np
import pytest
import tiny
from command_line import done, read_rows
from images import tiles
from keras import ops
from scipy.stats import mannwhitneyu

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data.images import png_bits
from keras_pixelcnnpp.evaluate.ood import (
    DETECTORS,
    auroc_report,
    class_detectors,
    detector_scores,
    ood_inputs,
)
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.utils.files import read_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

IMAGES = tiny.tiny_split(9).images


@pytest.fixture(scope="module")
def model():
    # Its weights come from NumPy, so they are the same under every backend.
    return enumeration.enumerable_model((4, 4, 1), kp.PixelCNN, num_classes=3, num_levels=5)


class TestSets:
    @pytest.fixture
    def images(self, rng):
        return rng.integers(0, 256, (6, 4, 8, 3), dtype="uint8")

    def test_all_have_the_models_form(self, images):
        sets, again = ood_inputs(images), ood_inputs(images)
        assert len(sets) == 10
        for name, given in sets.items():
            assert np.any(given != images), name
            np.testing.assert_array_equal(given, again[name])
            assert (given.shape, given.dtype) == (images.shape, np.uint8), name
        assert np.any(sets["digits"] != ood_inputs(images, seed=1)["digits"])

    def test_the_corrupted_keep_what_they_should(self, images):
        sets = ood_inputs(images)

        def rows(images):
            return [sorted(map(bytes, image)) for image in images]

        def pixels(images):
            return [sorted(map(bytes, image.reshape(-1, 3))) for image in images]

        assert rows(sets["rows shuffled"]) == rows(images)
        assert rows(sets["pixels shuffled"]) != rows(images)
        assert pixels(sets["pixels shuffled"]) == pixels(images)
        np.testing.assert_array_equal(sets["upside down"], np.flip(images, axis=1))
        np.testing.assert_array_equal(sets["inverted"] + images, 255)
        assert sets["one color"].std(axis=(1, 2)).max() == 0
        square = ood_inputs(images[:, :, :4])
        np.testing.assert_array_equal(square["rotated"][:, 0], images[:, :4, 3])
        assert np.all(sets["blurred"].std(axis=(1, 2)) < images.std(axis=(1, 2)))
        noise = sets["noisy"].astype(int) - images
        assert noise.std() == pytest.approx(8, rel=0.2)


def scores_of(sets, model, normal, by_classes=None, fit=False):
    """Returns the scores of sets of images, with detectors that are fitted to normal images."""
    detector = kp.AnomalyDetector(model)
    features = {name: detector.features(images) for name, images in sets.items()}
    features["normal"] = detector.features(normal)
    scores = detector_scores(features, detector if fit else None, by_classes)
    del scores["normal"]
    return scores


class TestScores:
    def test_by_hand(self, model):
        sets = {"in_distribution": IMAGES[:5], "others": IMAGES[5:]}
        scores = scores_of(sets, model, IMAGES[:4])
        found = {name: np.concatenate([scores[s][name] for s in sets]) for name in scores["others"]}
        each = np.stack([model.log_prob(IMAGES, np.full(9, label)) for label in range(3)], axis=1)
        bits = -np.log2(np.exp(each.astype("float64")).mean(axis=1)) / 16
        assert found["log_likelihood"] == pytest.approx(bits, rel=1e-4)
        assert found["typicality"] == pytest.approx(np.abs(bits - bits[:4].mean()), abs=1e-4)
        corrected = bits - png_bits(IMAGES) / 16
        assert found["complexity_corrected"] == pytest.approx(corrected, rel=1e-4)

    def test_area_is_the_mann_whitney_statistic(self, model, rng):
        cnn = BaselineCNN((4, 4, 1), num_classes=2, filters=4, num_blocks=1)
        sets = {
            "in_distribution": IMAGES,
            "noise": rng.integers(0, 256, (7, 4, 4, 1), dtype="uint8"),
        }
        probabilities, features = cnn.class_probabilities(IMAGES), cnn.features(IMAGES)
        kernel, bias = cnn.probabilities.get_weights()
        logits = ops.convert_to_numpy(features) @ kernel[:, 0] + bias[0]
        many = tiny.tiny_split(200, 3).images
        everything = {**sets, "normal": many}
        by_classes = {s: class_detectors(images, model, cnn) for s, images in everything.items()}
        own = by_classes["in_distribution"]
        expected = np.log(probabilities[:, 0]) - logits
        assert own["baseline_energy"] == pytest.approx(expected, rel=1e-4)
        assert own["baseline_max_softmax"] == pytest.approx(-probabilities.max(axis=1), rel=1e-5)
        expected = -model.predict(IMAGES, verbose=0).max(axis=1)
        assert own["pixelcnnpp_max_softmax"] == pytest.approx(expected, rel=1e-5)
        scores = scores_of(sets, model, many, by_classes, fit=True)
        assert list(scores["noise"]) == ["p_value", *DETECTORS]
        numbers = auroc_report(scores)["inputs"]["noise"]
        assert numbers["bits_per_dim"] == pytest.approx(scores["noise"]["log_likelihood"].mean())
        for detector, area in numbers["auroc"].items():
            outlying, inlying = scores["noise"][detector], scores["in_distribution"][detector]
            assert area == pytest.approx(mannwhitneyu(outlying, inlying).statistic / (7 * 9))
            low, high = numbers["auroc_ci95"][detector]
            assert low <= area <= high


def test_the_data_themselves_are_not_other_images(measured):
    """They may be in a folder or a file of any name."""
    note = "Note: two words is left out, because its images are among the data."
    assert note in measured.printed["ood"]
    assert "two words" not in measured.report("ood")["inputs"]


def test_command_with_other_data(pixelcnnpp, run, tmp_path, rng, figures):
    split = tiny.tiny_split(90, 5)
    np.savez(tmp_path / "other.npz", x_test=split.images, y_test=split.labels)
    photographs = rng.integers(0, 256, (30, 6, 6, 3), dtype="uint8")
    np.savez(tmp_path / "photographs.npz", x_train=photographs, y_train=np.arange(30) % 2)
    options = ("--data", tmp_path / "other.npz", "--ood-data", tmp_path / "photographs.npz")
    command = ("evaluate", "ood", "--run", run.path, *options, "--classes-in-order")
    printed = done(pixelcnnpp(*command, "--count", 20))
    folder = run.reports / "other"
    report = read_json(folder / "ood.json")
    # All 30 images are resized and converted to gray, as the run requires. The others of this
    # name are scikit-learn's.
    for name in ("photographs (--ood-data)", "photographs"):
        assert report["inputs"][name]["count"] == 20
    table = read_rows(folder / "ood.csv")
    limit = report["thresholds"]["anomaly_detector"]
    for row in table:
        alarm = float(row["anomaly_detector"]) > limit * (1 + 1e-5)
        assert alarm == (float(row["p_value"]) <= 0.05)
    own = [row for row in table if row["set"] == "in_distribution"]
    assert len(own) == 20
    numbers = [int(row["image"].removeprefix("test/")) for row in own]
    bits = keras.models.load_model(run.model_keras).bits_per_dim(split.images)[numbers]
    assert [float(row["log_likelihood"]) for row in own] == pytest.approx(bits, rel=1e-4)
    alarms = np.mean([float(row["p_value"]) <= 0.05 for row in own])
    assert report["in_distribution"]["detected"] == alarms
    assert f"False alarms at p ≤ 0.05: {alarms:.1%}" in printed
    shown = tiles(figures[-1].axes[0].images[0].get_array(), 6)[0]
    np.testing.assert_array_equal(shown, split.images[numbers[:6], ..., 0])
    least = min(own, key=lambda row: float(row["p_value"]))
    title = figures[0].axes[0].get_title(loc="left")
    assert title.startswith(least["image"])
    assert title.endswith(f"p = {float(least['p_value']):.3f}")
