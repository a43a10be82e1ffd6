"""Tests of `AnomalyDetector`; its model returns statistics that are made up, except in one test."""

import numpy as np
import pytest
import tiny
from scipy.ndimage import uniform_filter
from scipy.stats import norm
from sklearn.base import clone
from sklearn.covariance import MinCovDet
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.estimators.anomalies import FEATURES, image_features
from keras_pixelcnnpp.models.statistics import PixelStatistics

pytestmark = pytest.mark.once


class MadeUp:
    """Has `pixel_statistics` of gray images: Gaussian noise around 128, with any entropy."""

    def pixel_statistics(self, images, condition=-1, seed=0, batch_size=32):
        scores = (np.asarray(images) - 127.5) / 20
        log_prob = norm.logpdf(scores).astype("float32")
        # Not constant, so that no feature is a linear function of the others.
        above = np.roll(scores, 1, axis=1).astype("float32")
        entropy, variance = 1.4 + 0.1 * np.cos(above), 0.5 + 0.2 * np.abs(above)
        return PixelStatistics(log_prob, entropy, variance, norm.cdf(scores))


class OfFrames(MadeUp):
    """A `MadeUp` of frames, which have at least the size of its window."""

    window = (8, 8)


def noise(rng, count, mean=128.0, scale=20.0, shape=(8, 9, 1)):
    values = rng.normal(mean, scale, (count, *shape))
    return values.round().clip(0, 255).astype("uint8")


@pytest.fixture(scope="module")
def detector():
    return kp.AnomalyDetector(MadeUp()).fit(noise(np.random.default_rng(0), 600))


def test_false_alarms_are_as_rare_as_stated():
    """Over 20 fits, with 50 other images each. Fails for one seed in 10,000 if it is true."""
    rng, alarms = np.random.default_rng(1), 0
    for seed in range(20):
        detector = kp.AnomalyDetector(MadeUp(), seed=seed).fit(noise(rng, 118))
        p_values = detector.p_values(noise(rng, 50))
        # With 59 scores, exactly 3 of 60 ranks are alarms. 50 images share one fit.
        alarms += np.mean(p_values <= 0.05)
    spread = np.sqrt(0.05 * 0.95 * (1 / 50 + 1 / 60) / 20)
    assert abs(alarms / 20 - 0.05) < norm.isf(0.5e-4) * spread


def test_anomalies_of_each_kind(detector, rng):
    normal = noise(rng, 60)
    gradient = np.linspace(-40, 40, 9)[:, None]
    spot = normal.copy()
    spot[:, 3:5, 3:5] = 200
    smooth = uniform_filter(rng.normal(size=(60, 8, 9, 1)), (0, 4, 4, 0), mode="wrap")
    smooth = 128 + 20 * smooth / smooth.std()
    kinds = {
        "bright": noise(rng, 60, 150),
        "noisy": noise(rng, 60, scale=30),
        "flat": noise(rng, 60, scale=10),
        "gradient": (normal + gradient).clip(0, 255).astype("uint8"),
        "correlated": smooth.round().clip(0, 255).astype("uint8"),
        "a small part": spot,
    }
    for name, images in kinds.items():
        assert np.mean(detector.p_values(images) <= 0.05) > 0.8, name


def test_predictions_are_those_of_the_p_values(detector, rng):
    images = np.concatenate([noise(rng, 200), noise(rng, 20, 135)])
    p_values, decision = detector.p_values(images), detector.decision_function(images)
    np.testing.assert_array_equal(detector.predict(images) == -1, p_values <= 0.05)
    np.testing.assert_array_equal(decision < 0, p_values <= 0.05)
    np.testing.assert_allclose(decision + detector.offset_, detector.score_samples(images))
    lower = (detector.calibration_scores_ <= detector.score_samples(images)[:, None]).sum(axis=1)
    np.testing.assert_allclose(p_values, (1 + lower) / 301)
    for rate in (0.01, 0.1, 0.3, 0.5):
        other = kp.AnomalyDetector(MadeUp(), rate).fit(noise(rng, 260))
        np.testing.assert_array_equal(
            other.predict(images) == -1, other.p_values(images) <= rate + 1e-12
        )


def test_series_are_scored_by_the_others_and_count_once(rng):
    """Nine series of one to nine images, whose features are shifted together."""
    groups = np.repeat(np.arange(9), np.arange(1, 10))[rng.permutation(45)]
    shifts = rng.normal(size=(9, len(FEATURES)))
    features = rng.normal(size=(45, len(FEATURES))) + shifts[groups]
    detector = kp.AnomalyDetector(MadeUp(), 0.1).fit_features(
        features, np.array([*"abcdefghi"])[groups]
    )
    scores = detector.score_features(
        rng.normal(size=(30, len(FEATURES))) * np.arange(1, 31)[:, None]
    )
    lower = np.ones(30)
    for one in range(9):
        covariance = MinCovDet(random_state=0).fit(features[groups != one])
        own = -np.log(covariance.mahalanobis(features[groups == one]))
        lower += (own <= scores[:, None]).mean(axis=1)
    p_values = detector.p_values_of(scores)
    np.testing.assert_allclose(p_values, lower / 10)
    np.testing.assert_array_equal(scores < detector.offset_, p_values <= 0.1 + 1e-9)
    assert 0 < np.sum(p_values <= 0.1 + 1e-9) < 30
    with pytest.raises(ValueError, match=r"at least 19 groups .*Received: 9"):
        kp.AnomalyDetector(MadeUp(), 0.05).fit_features(features, groups)


def test_conventions_of_scikit_learn(detector, rng):
    copy, images = clone(detector).set_params(contamination=0.2), noise(rng, 100)
    with pytest.raises(NotFittedError):
        copy.predict(images)
    assert set(copy.fit_predict(images)) == {-1, 1}
    check_is_fitted(copy)
    again = clone(copy).fit(images)
    np.testing.assert_array_equal(again.score_samples(images), copy.score_samples(images))


@pytest.mark.parametrize(("count", "rate"), [(30, 0.05), (100, 0.01)])
def test_too_few_images(rng, count, rate):
    with pytest.raises(ValueError, match=rf"Expected at least \d+ images .*Received: {count}"):
        kp.AnomalyDetector(MadeUp(), rate).fit(noise(rng, count))


def test_few_large_images_give_no_warning(rng):
    """Their features vary little, which is not a lower rank."""
    kp.AnomalyDetector(MadeUp()).fit(noise(rng, 40, shape=(128, 128, 1)))


def test_features_of_a_model(trained):
    """Features are those of `pixel_statistics`."""
    model, images = trained, tiny.tiny_split(12).images
    found = dict(zip(FEATURES, kp.AnomalyDetector(model).features(images).T, strict=True))
    np.testing.assert_allclose(found["bits_per_dim"], model.bits_per_dim(images), rtol=1e-4)
    statistics = model.pixel_statistics(images)
    z = (-statistics.log_prob - statistics.entropy).sum(axis=(1, 2, 3))
    z = z / np.sqrt(16 * statistics.variance.sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(found["standardized_surprisal"], z, rtol=1e-4, atol=1e-4)


SIZES = [(24, 24), (32, 32), (40, 48)]


def different_frames(rng, count, size):
    """Frames of noise, whose contrast varies from frame to frame, or of noise alone."""
    frames = noise(rng, count, 0.0, 1.0, (*size, 1)).astype("float64")
    contrast = rng.uniform(15, 25, (count, 1, 1, 1))
    frames = 128 + contrast * rng.normal(size=frames.shape)
    return frames.round().clip(0, 255).astype("uint8")


@pytest.mark.parametrize("make", [different_frames, lambda rng, n, s: noise(rng, n, shape=(*s, 1))])
@pytest.mark.parametrize("mixed", [False, True])
def test_false_alarms_on_frames_of_any_size(make, mixed):
    """The detector is fitted to frames of one size, or of all. Fails for one seed in 10,000.

    The noise of frames averages out in large ones, but differences between the frames do not.
    """
    rng = np.random.default_rng(3)
    sizes = [SIZES[index % 3] for index in range(600)] if mixed else [SIZES[1]] * 600
    normal = [make(rng, 1, size)[0] for size in sizes]
    detector = kp.AnomalyDetector(OfFrames()).fit(normal)
    spread = np.sqrt(0.05 * 0.95 * (1 / 300 + 1 / 300))
    for size in SIZES:
        frames = make(rng, 300, size)
        alarms = np.mean(detector.p_values(frames) <= 0.05)
        assert abs(alarms - 0.05) < norm.isf(0.5e-4) * spread, size
        frames[:, 3:8, 3:8] = 210
        assert np.mean(detector.p_values(frames) <= 0.05) > 0.8, size


def test_frames_of_several_sizes_in_a_list(rng):
    """They have the scores that they have alone, and each its own label."""

    class WithLabels(OfFrames):
        def pixel_statistics(self, images, condition=0, **how):
            found = super().pixel_statistics(images)
            return found._replace(entropy=found.entropy + np.reshape(condition, (-1, 1, 1, 1)))

    model = WithLabels()
    sizes = [SIZES[index % 3] for index in range(90)]
    frames, labels = [noise(rng, 1, shape=(*size, 1))[0] for size in sizes], rng.normal(size=90)
    for given in (None, 0.5, [0.5], labels):
        detector = kp.AnomalyDetector(model).fit(frames, condition=given)
        together = detector.score_samples(frames, condition=given)
        for index in (0, 31, 62):
            own = labels[index : index + 1] if given is labels else given
            alone = detector.score_samples(frames[index][None], condition=own)
            np.testing.assert_allclose(together[index], alone[0])


def test_tables_of_vectors_keep_the_names_of_their_columns(rng):
    """With frames of several sizes, whose vectors are chosen by rows."""

    class Table:
        """What a `pandas.DataFrame` does here: columns by name, and rows by `iloc`."""

        def __init__(self, **columns):
            self.columns, self.iloc = columns, self

        def __len__(self):
            return len(self.columns["share"])

        def __getitem__(self, key):
            if isinstance(key, str):
                return self.columns[key]
            return Table(**{name: values[key] for name, values in self.columns.items()})

    class WithVectors(OfFrames):
        def pixel_statistics(self, images, condition=None, **how):
            found, share = super().pixel_statistics(images), np.asarray(condition["share"])
            return found._replace(entropy=found.entropy + share.reshape(-1, 1, 1, 1))

    sizes = [SIZES[index % 3] for index in range(90)]
    frames, share = [noise(rng, 1, shape=(*size, 1))[0] for size in sizes], rng.normal(size=90)
    detector = kp.AnomalyDetector(WithVectors())
    table = Table(other=-share, share=share)
    expected = detector.features(frames, {"share": share})
    np.testing.assert_array_equal(detector.features(frames, table), expected)
    assert np.ptp(expected[:, FEATURES.index("entropy")]) > 1


def test_a_tuple_of_conditions(rng):
    """It reaches the model as it is, although its arrays differ in shape."""

    class OfPairs(MadeUp):
        def pixel_statistics(self, images, condition=None, **how):
            labels, maps = condition
            found = super().pixel_statistics(images)
            added = labels[:, None, None, None] + maps
            return found._replace(entropy=found.entropy + added)

    images = noise(rng, 60)
    condition = rng.integers(0, 2, 60), rng.normal(size=images.shape)
    detector = kp.AnomalyDetector(OfPairs(), 0.1).fit(images, condition=condition)
    plain = MadeUp().pixel_statistics(images).entropy.mean(axis=(1, 2, 3))
    expected = plain + condition[0] + condition[1].mean(axis=(1, 2, 3))
    found = detector.features(images, condition)[:, FEATURES.index("entropy")]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    few = tuple(values[:5] for values in condition)
    assert detector.p_values(images[:5], few).shape == (5,)


def test_images_of_a_size_that_was_not_learned_are_refused(rng):
    """Without frames that are larger than the model's, all others would be anomalies."""
    for model, shape in ((MadeUp(), (16, 20, 1)), (OfFrames(), (8, 8, 1))):
        detector = kp.AnomalyDetector(model).fit(noise(rng, 60, shape=shape))
        expected = f"images of {shape[0]}×{shape[1]} pixels.*Received: 9×9"
        with pytest.raises(ValueError, match=expected):
            detector.p_values(noise(rng, 3, shape=(9, 9, 1)))


def test_groups_that_are_given_as_y_are_noted(rng):
    images, nights = noise(rng, 60), np.arange(60) // 3
    with pytest.warns(UserWarning, match=r"ignores y, .* fit\(images, groups=y\)"):
        kp.AnomalyDetector(MadeUp()).fit(images, nights)
    kp.AnomalyDetector(MadeUp()).fit(images, np.arange(60))  # is no series


def test_correlations_by_hand(rng):
    images = noise(rng, 5)
    found = image_features(MadeUp().pixel_statistics(images), images)
    scores = (images[..., 0] - 127.5) / 20
    right = (scores[:, :, 1:] * scores[:, :, :-1]).sum(axis=(1, 2))
    norms = (scores[:, :, 1:] ** 2).sum(axis=(1, 2)) * (scores[:, :, :-1] ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(found[:, FEATURES.index("score_right")], right / np.sqrt(norms))
    np.testing.assert_allclose(found[:, FEATURES.index("score_std")], scores.std(axis=(1, 2)))
    for given in (images[..., 0], list(images)):
        again = image_features(MadeUp().pixel_statistics(images), given)
        np.testing.assert_array_equal(again, found)


def test_equal_images_have_no_covariance(rng):
    images = np.concatenate([noise(rng, 10), np.repeat(noise(rng, 1), 110, axis=0)])
    with pytest.raises(ValueError, match=r"at least 40 different .* Received: 11 of 120"):
        kp.AnomalyDetector(MadeUp()).fit(images)
