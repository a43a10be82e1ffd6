import numpy as np
import pytest
import tiny
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score

from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.examination import (
    NearestTraining,
    TemperatureSweep,
    complete_pictures,
    examine,
    named_rightly,
    parse_temperatures,
)
from keras_pixelcnnpp.evaluate.features import BaselineFeatures
from keras_pixelcnnpp.evaluate.fidelity import RealPictures
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import ClassSamples

NAMES = ("dark", "grey", "bright")


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model()


@pytest.fixture
def real():
    return RealPictures.of(tiny.tiny_dataset(), "validation")


class TestNearestTraining:
    def test_copies_are_found(self, real):
        rows = [3, 4, 5, 6]
        samples = ClassSamples(real.train.images[rows], real.train.labels[rows], NAMES, 5)
        nearest = NearestTraining.find(samples, real)
        distances, found = nearest.spaces["pixels"]
        assert found[:, 0].tolist() == rows
        assert (distances[:, 0] == 0).all()
        assert nearest.report["pixels"]["identical"] == 1
        assert nearest.report["pixels"]["share_closer_than_5_percent"] == 1

    def test_distances_are_root_mean_squares_of_pixels(self, real):
        samples = ClassSamples(tiny.tiny_split(6, 7).images, np.arange(6) % 3, NAMES, 5)
        distances, rows = NearestTraining.find(samples, real).spaces["pixels"]
        difference = (samples.levels[2] / 4.0) - (real.train.images[rows[2, 1]] / 4.0)
        assert distances[2, 1] == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-5)

    def test_mirrored_copies_are_found_where_training_mirrors(self, real):
        mirrored = real.train.images[:3, :, ::-1]
        samples = ClassSamples(mirrored, real.train.labels[:3], NAMES, 5)
        assert NearestTraining.find(samples, real).report["pixels"]["identical"] == 0
        nearest = NearestTraining.find(samples, real, mirrored=True)
        assert nearest.report["pixels"]["identical"] == 1
        assert (nearest.gallery().pixels[:, 1] == to_pixels(mirrored, 5)).all()

    def test_searches_by_features_too(self, real):
        class Brightness:
            dimensions = 1

            def __call__(self, images):
                return {1: images.mean(axis=(1, 2, 3))[:, np.newaxis]}

        samples = ClassSamples(tiny.tiny_split(6, 7).images, np.arange(6) % 3, NAMES, 5)
        nearest = NearestTraining.find(samples, real, Brightness())
        assert set(nearest.report) == {"pixels", "features"}
        brightness = real.train.images.mean(axis=(1, 2, 3))
        expected = np.abs(brightness - samples.levels[0].mean()).min()
        assert nearest.spaces["features"][0][0, 0] == pytest.approx(expected)

    def test_gallery_shows_the_closest_of_each_class(self, real):
        levels = tiny.tiny_split(9, 7).images
        labels = np.arange(9) % 3
        levels[5] = real.train.images[11]
        gallery = NearestTraining.find(ClassSamples(levels, labels, NAMES, 5), real).gallery()
        assert gallery.pixels.shape == (3, 4, 4, 4, 1)
        assert gallery.row_labels == list(NAMES)
        # The copy, and the picture that it is a copy of.
        assert (gallery.pixels[2, :2] == to_pixels(real.train.images[11], 5)).all()


class TestCompletions:
    def test_upper_half_is_kept(self, model, real):
        gallery = complete_pictures(model, real, 3, seed=4)
        assert gallery.pixels.shape == (3, 5, 4, 4, 1)
        assert gallery.row_labels == list(NAMES)
        first = [int(np.argmax(real.reference.labels == label)) for label in range(3)]
        original = to_pixels(real.reference.images[first], 5)
        assert (gallery.pixels[:, 0] == original).all()
        assert (gallery.pixels[:, 1:, :2] == original[:, np.newaxis, :2]).all()
        assert not (gallery.pixels[:, 2] == gallery.pixels[:, 3]).all()
        drawn = model.complete(
            np.repeat(real.reference.images[first], 3, axis=0),
            2,
            np.repeat(np.arange(3), 3),
            seed=4,
        )
        assert (gallery.pixels[:, 2:].reshape(9, 4, 4, 1) == to_pixels(drawn, 5)).all()

    def test_needs_labels(self, model):
        real = RealPictures.of(tiny.tiny_dataset(), "test")
        assert complete_pictures(model, real, 2) is None


class TestNamedRightly:
    def test_against_scikit_learn(self, real):
        classifier = BaselineCNN((4, 4, 1), 3, num_levels=5, filters=(4,), num_blocks=1)
        classifier({"image": real.reference.images})
        images, labels = real.reference.images, real.reference.labels
        predicted = classifier.class_probabilities(images).argmax(axis=1)
        found = named_rightly(classifier, images, labels)
        assert found["count"] == len(labels)
        assert found["accuracy"] == accuracy_score(labels, predicted)
        interval = binomtest(int((labels == predicted).sum()), len(labels)).proportion_ci(
            method="wilson"
        )
        np.testing.assert_allclose(found["accuracy_ci95"], [interval.low, interval.high])


def test_pictures_of_no_class_have_no_right_name(model, real):
    """Of a model without labels all have the label 0."""
    features = BaselineFeatures(BaselineCNN((4, 4, 1), 3, 5, filters=(4,), num_blocks=1))
    drawn_with = {"seed": 0, "temperature": 1.0, "guidance": 0.0}
    for drawer, named in ((model, True), (tiny.tiny_model(num_classes=0), False)):
        drawn = ClassSamples.draw(drawer, NAMES, 2, **drawn_with)
        report = examine(drawer, drawn, drawn_with, real=real, neighbour_features=features).report
        assert ("named_rightly" in report) == named


class TestTemperatureSweep:
    def test_pictures_and_numbers(self, model):
        drawn = ClassSamples.draw(model, NAMES, 4, seed=3)
        drawn_with = {"seed": 3, "temperature": 1.0, "guidance": 0.0}
        sweep = TemperatureSweep.draw(model, drawn, drawn_with, [1.0, 0.1, 1.0])
        assert [row["temperature"] for row in sweep.report] == [0.1, 1.0]
        assert sweep.samples[1.0] is drawn
        cold = model.sample(drawn.labels, seed=3, temperature=0.1)
        assert (sweep.samples[0.1].levels == cold).all()
        expected = -model.log_prob(cold, drawn.labels).mean() / (16 * np.log(2))
        assert sweep.report[0]["bits_per_dim"] == pytest.approx(expected, rel=1e-5)
        for name in ("frechet_distance", "kid", "named_rightly"):
            assert sweep.report[0][name] is None

        gallery = sweep.gallery()
        assert gallery.row_labels == ["temperature 0.1", "temperature 1"]
        assert gallery.column_labels == ["dark", "", "", "grey", "", "", "bright", "", ""]
        assert (gallery.pixels[0, 4] == to_pixels(cold[5], 5)).all()

    @pytest.mark.parametrize(
        ("text", "expected"), [("", []), ("1", [1.0]), (" 0.5, 2 ,", [0.5, 2.0])]
    )
    def test_temperatures_of_the_command_line(self, text, expected):
        assert parse_temperatures(text) == expected

    @pytest.mark.parametrize("text", ["a", "0", "1,-1", "nan", "1;2"])
    def test_bad_temperatures(self, text):
        with pytest.raises(UserError, match="numbers above 0"):
            parse_temperatures(text)
