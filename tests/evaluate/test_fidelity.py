import numpy as np
import pytest
import tiny
from scipy.special import log_softmax

from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.fidelity import (
    Comparison,
    baseline_features,
    floor_images,
    nearest_gallery,
    nearest_training,
    reference_images,
)
from keras_pixelcnnpp.evaluate.metrics.pictures import FIDELITY_METRICS, frechet_distance
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

NAMES = ("dark", "grey", "bright")
TRAIN, REFERENCE = tiny.tiny_split(90, 0), tiny.tiny_split(60, 1)


class FirstPixels:
    """A CNN that a test can see through: its features are the first two pixels."""

    image_shape, num_levels, filters = (4, 4, 1), 5, (2,)

    def features(self, images, training):
        return images.reshape(len(images), -1)[:, :2].astype("float32")

    def class_probabilities(self, images):
        brightness = images.mean(axis=(1, 2, 3))
        return np.eye(3)[np.clip(np.rint(brightness) - 1, 0, 2).astype(int)]


def sampled(per_class=10, seed=2, names=NAMES):
    split = tiny.tiny_split(3 * per_class, seed)
    order = np.argsort(split.labels, kind="stable")
    return ClassSamples(split.images[order], split.labels[order], names, 5)


def compare(samples, reference=REFERENCE, train=TRAIN, **options):
    return Comparison(FirstPixels(), reference, train, samples, **options)


def pixels(images):
    return images.reshape(len(images), -1)[:, :2]


class TestBaselineFeatures:
    @pytest.fixture
    def cnn(self):
        return BaselineCNN((4, 4, 1), 3, num_levels=5, filters=(8,), num_blocks=1)

    def test_the_logits_are_made_of_them(self, cnn):
        images = tiny.tiny_split(7).images
        features = baseline_features(cnn, images, batch_size=3)
        kernel, bias = (np.asarray(weight, "float64") for weight in cnn.logits.get_weights())
        np.testing.assert_allclose(
            log_softmax(features @ kernel + bias, axis=1),
            np.log(cnn.class_probabilities(images)),
            atol=1e-5,
        )

    def test_images_that_do_not_fit(self, cnn):
        with pytest.raises(ValueError, match="Invalid shape of `images`"):
            baseline_features(cnn, np.zeros((2, 3, 3, 1), "uint8"))


class TestComparison:
    def test_by_class_and_all_together(self):
        samples = sampled()
        report = compare(samples).report(samples)
        assert report["features"] == {"name": "baseline_cnn", "dimensions": 2}
        assert list(report["metrics"]) == ["all", *NAMES]
        for label, name in enumerate(("all", *NAMES), -1):
            of_class = [
                pixels(images[(labels == label) | (label < 0)])
                for images, labels in (
                    (REFERENCE.images, REFERENCE.labels),
                    (samples.levels, samples.labels),
                )
            ]
            expected = frechet_distance(*of_class)
            assert report["metrics"][name]["frechet_distance"] == pytest.approx(expected)
        named = report["named_rightly"]["drawn"]
        predicted = FirstPixels().class_probabilities(samples.levels).argmax(axis=1)
        assert (named["count"], named["accuracy"]) == (30, np.mean(predicted == samples.labels))
        numbers = report["metrics"]["all"]
        assert compare(samples).summary(samples) == {
            "frechet_distance": numbers["frechet_distance"],
            "kid": numbers["kid"],
            "named_rightly": named["accuracy"],
        }

    def test_the_reference_itself_has_no_distance(self):
        samples = ClassSamples(REFERENCE.images, REFERENCE.labels, NAMES, 5)
        numbers = compare(samples).report(samples)["metrics"]["all"]
        assert numbers["frechet_distance"] == pytest.approx(0, abs=1e-9)
        assert numbers["coverage"] == 1
        assert numbers["floor"]["frechet_distance"] > 0

    def test_floor_is_of_training_images_with_the_same_classes(self):
        samples = sampled(per_class=7)
        floor = floor_images(TRAIN, samples.labels, seed=3)
        assert sorted(floor.labels) == sorted(samples.labels)
        assert set(floor.paths) <= set(TRAIN.paths)
        assert len(set(floor.paths)) == 21
        assert floor.paths == floor_images(TRAIN, samples.labels, seed=3).paths
        assert floor.paths != floor_images(TRAIN, samples.labels, seed=4).paths
        numbers = compare(samples, seed=3).report(samples)["metrics"]["all"]["floor"]
        expected = frechet_distance(pixels(REFERENCE.images), pixels(floor.images))
        assert numbers["frechet_distance"] == pytest.approx(expected)

    def test_worse_images_are_further_than_the_floor(self):
        samples = sampled()
        mixed_up = ClassSamples(samples.levels[::-1], samples.labels, NAMES, 5)
        comparison = compare(samples)
        good, bad = (comparison.report(each)["metrics"]["dark"] for each in (samples, mixed_up))
        assert good["frechet_distance"] < 1 < bad["frechet_distance"]
        assert good["precision"] > bad["precision"]
        assert bad["floor"] == good["floor"]

    def test_what_is_missing_has_no_numbers(self):
        samples = sampled()
        nothing = dict.fromkeys(FIDELITY_METRICS)
        without_grey = REFERENCE.take(REFERENCE.labels != 1)
        metrics = compare(samples, without_grey).report(samples)["metrics"]
        assert metrics["grey"] == {**nothing, "floor": nothing}
        assert None not in metrics["dark"].values()
        unlabeled = compare(samples, tiny.tiny_split(60, 1, labels=False)).report(samples)
        assert unlabeled["metrics"]["dark"] == {**nothing, "floor": nothing}
        assert None not in unlabeled["metrics"]["all"].values()
        assert "named_rightly" not in unlabeled
        few = compare(samples, train=tiny.tiny_split(9)).report(samples)["metrics"]["all"]
        assert few.pop("floor") == nothing
        assert None not in few.values()

    def test_an_unconditional_models_images_have_no_classes(self):
        samples = ClassSamples(tiny.tiny_split(30, 2).images, np.zeros(30, int), ("any",), 5)
        report = compare(samples, by_class=False).report(samples)
        assert list(report["metrics"]) == ["all"]
        assert report["metrics"]["all"]["floor"]["recall"] is not None
        assert "named_rightly" not in report

    def test_a_class_called_all(self):
        samples = sampled(names=("all", "grey", "bright"))
        numbers = compare(samples).report(samples)["metrics"]
        assert list(numbers) == ["all", "grey", "bright"]
        expected = frechet_distance(pixels(REFERENCE.images), pixels(samples.levels))
        assert numbers["all"]["frechet_distance"] == pytest.approx(expected)


class TestReference:
    @pytest.mark.parametrize(
        ("split", "message"),
        [("train", "wasn't trained on"), ("holdout", "no split 'holdout'"), ("empty", "has no")],
    )
    def test_refused(self, split, message):
        splits = {"train": tiny.tiny_split(6), "empty": tiny.tiny_split(6).take(slice(0, 0))}
        with pytest.raises(UserError, match=message):
            reference_images(Dataset("tiny", NAMES, 5, splits), split)

    def test_images_without_labels_are_left_out_if_others_have_them(self):
        mixed = tiny.tiny_split(60, 1)
        mixed.labels[:20] = -1
        splits = {"train": TRAIN, "mixed": mixed, "none": tiny.tiny_split(5, labels=False)}
        dataset = Dataset("tiny", NAMES, 5, splits)
        assert len(reference_images(dataset, "mixed")) == 40
        assert len(reference_images(dataset, "none")) == 5


class TestNearestTraining:
    def test_copies_are_found_and_shown(self):
        samples = sampled(per_class=3, seed=7)
        samples.levels[7] = TRAIN.images[11]
        _, found = nearest_training(samples, TRAIN.images, REFERENCE.images)
        distances, rows = found["pixels"]
        assert (distances[7, 0], rows[7, 0]) == (0, 11)
        shown, row_names, columns = nearest_gallery(samples, TRAIN.images, found)
        assert shown.shape == (3, 4, 4, 4, 1)
        assert row_names == list(NAMES)
        assert columns == ["sampled", "nearest by pixels", "", ""]
        assert (shown[2, :2] == to_pixels(TRAIN.images[11], 5)).all()

        copies = ClassSamples(TRAIN.images[3:7], TRAIN.labels[3:7], NAMES, 5)
        report, _ = nearest_training(copies, TRAIN.images, REFERENCE.images)
        assert report["pixels"]["identical"] == 1
        assert report["pixels"]["share_closer_than_5_percent"] == 1

    def test_distances_by_hand(self):
        samples = sampled(per_class=2, seed=7)
        report, found = nearest_training(samples, TRAIN.images, REFERENCE.images, FirstPixels())
        assert set(report) == set(found) == {"pixels", "features"}
        distances, rows = found["pixels"]
        difference = (samples.levels[2] / 4.0) - (TRAIN.images[rows[2, 1]] / 4.0)
        assert distances[2, 1] == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-5)
        difference = pixels(TRAIN.images).astype(float) - pixels(samples.levels[:1])
        expected = np.linalg.norm(difference, axis=1).min()
        assert found["features"][0][0, 0] == pytest.approx(expected)
