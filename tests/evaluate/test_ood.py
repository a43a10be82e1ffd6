import io
import json

import enumeration
import keras
import numpy as np
import pytest
import tiny
from command_line import done, one_line
from keras import ops
from PIL import Image
from scipy.stats import mannwhitneyu

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.evaluate.ood import (
    auroc_report,
    detector_scores,
    ood_inputs,
    ood_png,
    png_bits,
)
from keras_pixelcnnpp.files import read_json
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN

IMAGES = tiny.tiny_split(9).images


@pytest.fixture(scope="module")
def model():
    # Its weights come from NumPy, so they are the same under every backend.
    return enumeration.enumerable_model((4, 4, 1), num_classes=3, num_levels=5)


class TestSets:
    @pytest.fixture
    def images(self, rng):
        return rng.integers(0, 256, (6, 4, 8, 3), dtype="uint8")

    def test_all_have_the_models_form(self, images):
        sets, again = ood_inputs(images), ood_inputs(images)
        assert len(sets) == 8
        for name, given in sets.items():
            assert given.shape == images.shape, name
            assert given.dtype == np.uint8, name
            assert np.any(given != images), name
            np.testing.assert_array_equal(given, again[name])
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

    def test_two_channels(self, rng):
        images = rng.integers(0, 256, (3, 4, 4, 2), dtype="uint8")
        sets = ood_inputs(images)
        assert list(sets)[:2] == ["uniform noise", "one color"]
        model = enumeration.enumerable_model((4, 4, 2), num_classes=0, num_levels=5)
        scores = detector_scores({"in_distribution": images, **sets}, model, images)
        report = auroc_report(scores)
        assert ood_png({"in_distribution": images, **sets}, scores, report).startswith(b"\x89PNG")
        parts = png_bits(images[..., :1]) + png_bits(images[..., 1:])
        np.testing.assert_array_equal(png_bits(images), parts)

    def test_photographs_and_digits_are_what_they_say(self):
        gray = np.zeros((4, 8, 8, 1), "uint8")
        sets = ood_inputs(gray)
        known = {bytes(digit) for digit in load_dataset("digits").split("train").images}
        assert {bytes(digit) for digit in sets["digits"]} <= known
        assert "digits" not in ood_inputs(gray, ("other.npz", "digits"))
        # Neighboring pixels are similar in photographs, but not in shuffled noise.
        wide = np.zeros((20, 32, 32, 3), "uint8")
        photographs = ood_inputs(wide)["photographs"].astype(float)
        step = np.abs(np.diff(photographs, axis=2)).mean()
        shuffled = np.random.default_rng(0).permuted(photographs, axis=2)
        assert 0 < step < 0.5 * np.abs(photographs - shuffled).mean()


class TestScores:
    def test_by_hand(self, model):
        sets = {"in_distribution": IMAGES[:5], "others": IMAGES[5:]}
        scores = detector_scores(sets, model, IMAGES[:4])
        found = {name: np.concatenate([scores[s][name] for s in sets]) for name in scores["others"]}
        each = np.stack([model.log_prob(IMAGES, np.full(9, label)) for label in range(3)], axis=1)
        each = np.exp(each.astype("float64"))
        bits = -np.log2(each.mean(axis=1)) / 16
        assert found["log_likelihood"] == pytest.approx(bits, rel=1e-4)
        assert found["typicality"] == pytest.approx(np.abs(bits - bits[:4].mean()), abs=1e-4)
        posterior = each / each.sum(axis=1, keepdims=True)
        assert found["pixelcnnpp_max_softmax"] == pytest.approx(-posterior.max(axis=1), abs=1e-4)
        corrected = bits - png_bits(IMAGES) / 16
        assert found["complexity_corrected"] == pytest.approx(corrected, rel=1e-4)

    def test_a_model_without_classes_has_no_posterior(self):
        model = enumeration.enumerable_model((4, 4, 1), num_classes=0, num_levels=5)
        scores = detector_scores({"in_distribution": IMAGES}, model, IMAGES)["in_distribution"]
        assert list(scores) == ["log_likelihood", "typicality", "complexity_corrected"]
        assert scores["log_likelihood"] == pytest.approx(-model.log_prob(IMAGES) / (16 * np.log(2)))

    def test_area_is_the_mann_whitney_statistic(self, model, rng):
        cnn = BaselineCNN((4, 4, 1), num_classes=2, filters=4, num_blocks=1)
        sets = {
            "in_distribution": IMAGES,
            "noise": rng.integers(0, 256, (7, 4, 4, 1), dtype="uint8"),
        }
        scores = detector_scores(sets, model, IMAGES, cnn)
        probabilities = cnn.class_probabilities(IMAGES)
        found = scores["in_distribution"]
        assert found["baseline_max_softmax"] == pytest.approx(-probabilities.max(axis=1), rel=1e-4)
        features = ops.convert_to_numpy(cnn.features(IMAGES))
        kernel, bias = cnn.probabilities.get_weights()
        energy = np.log(probabilities[:, 0]) - features @ kernel[:, 0] - bias[0]
        assert found["baseline_energy"] == pytest.approx(energy, rel=1e-4)
        report = auroc_report(scores)
        assert json.loads(json.dumps(report)) == report
        bits = scores["in_distribution"]["log_likelihood"].mean()
        assert report["in_distribution"] == {"count": 9, "bits_per_dim": pytest.approx(bits)}
        numbers = report["inputs"]["noise"]
        assert numbers["bits_per_dim"] == pytest.approx(scores["noise"]["log_likelihood"].mean())
        for detector, area in numbers["auroc"].items():
            outlying, inlying = scores["noise"][detector], scores["in_distribution"][detector]
            assert area == pytest.approx(mannwhitneyu(outlying, inlying).statistic / (7 * 9))
            low, high = numbers["auroc_ci95"][detector]
            assert low <= area <= high

    def test_png_bits_are_the_size_of_a_file(self, rng):
        images = rng.integers(0, 256, (1, 8, 8, 1), dtype="uint8")
        file = io.BytesIO()
        Image.fromarray(images[0, ..., 0]).save(file, "PNG")
        assert png_bits(images)[0] == 8 * len(file.getvalue())


class TestCommand:
    def test_with_other_data(self, pixelcnnpp, run, tmp_path, rng):
        images = rng.integers(0, 256, (30, 6, 6, 3), dtype="uint8")
        np.savez(tmp_path / "photographs.npz", x_train=images, y_train=np.arange(30) % 2)
        options = ("--ood-data", tmp_path / "photographs.npz", "--count", 7)
        command = ("evaluate", "ood", "--run", run.path, *options)
        done(pixelcnnpp(*command))
        report = read_json(run.reports / "ood.json")
        # All 30 images are resized and converted to gray, as the run requires.
        assert report["inputs"]["photographs (--ood-data)"]["count"] == 7
        assert report["inputs"]["photographs"]["count"] == 7  # the photographs of scikit-learn
        assert list(report["detectors"])[-1] == "baseline_energy"
        for name in ("ood.png", "improbable.png"):
            with Image.open(run.reports / name) as image:
                assert min(image.size) > 200
        model, split = keras.models.load_model(run.model_keras), tiny.tiny_split(9, 1)
        bits = model.bits_per_dim(split.images)
        found = [row["bits_per_dim"] for row in report["most_improbable"]]
        assert found == sorted(found, reverse=True)
        assert set(np.round(found, 4)) <= set(np.round(bits, 4))

    def test_typical_are_the_images_of_the_training(self, pixelcnnpp, run, tmp_path, monkeypatch):
        given = []
        monkeypatch.setattr(
            "keras_pixelcnnpp.evaluate.ood.detector_scores",
            lambda *args, **how: given.append(args[2]) or detector_scores(*args, **how),
        )
        split = tiny.tiny_split(30, 5)
        np.savez(tmp_path / "other.npz", x_train=255 - split.images, y_train=split.labels)
        command = ("evaluate", "ood", "--run", run.path, "--data", tmp_path / "other.npz")
        done(pixelcnnpp(*command, "--classes-in-order", "--split", "train"))
        np.testing.assert_array_equal(given[0], run.load_data().split("train").images)

    def test_bad_other_data(self, pixelcnnpp, run, tmp_path):
        command = ("evaluate", "ood", "--run", run.path)
        one_line(pixelcnnpp(*command, "--ood-data", tmp_path / "none"), "No such folder or .npz")
