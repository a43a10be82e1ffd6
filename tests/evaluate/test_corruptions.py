import numpy as np
import pytest
from scipy.ndimage import convolve1d

from keras_pixelcnnpp.data.images import to_levels, to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt

SHAPES = [(8, 8, 1), (32, 24, 3), (1, 5, 3)]


@pytest.fixture
def smooth():
    """Waves of pixels from 28 to 228, so that nothing is cut off."""
    places = np.indices((32, 32)).sum(axis=0) / 6
    waves = [128 + 100 * np.sin(places + shift) for shift in range(6)]
    return np.stack(waves).astype("uint8")[..., None]


def distance(images, spoilt):
    return np.sqrt(np.mean((images.astype(float) - spoilt) ** 2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_levels", [2, 17, 256])
def test_all_have_the_models_form_and_depend_on_the_seed_only(rng, shape, num_levels):
    images = rng.integers(0, num_levels, (3, *shape), dtype="uint8")
    before = images.copy()
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            spoilt = corrupt(images, num_levels, name, severity, seed=1)
            assert (spoilt.shape, spoilt.dtype) == (images.shape, np.uint8)
            assert spoilt.max() < num_levels
            again = corrupt(images, num_levels, name, severity, seed=1)
            np.testing.assert_array_equal(spoilt, again)
    np.testing.assert_array_equal(images, before)
    for name in ("gaussian noise", "occlusion", "translation"):
        given = [corrupt(images, 256, name, 3, seed=seed) for seed in (1, 2)]
        if shape[0] > 1:
            assert np.any(given[0] != given[1])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_severer_the_farther_from_the_picture(smooth, name):
    far = [distance(smooth, corrupt(smooth, 256, name, severity)) for severity in SEVERITIES]
    assert far[0] > 0
    assert np.diff(far).min() > 0
    assert len(CORRUPTIONS[name].strengths) == 5


def test_noise_has_the_deviation_that_it_says():
    grey = np.full((4, 64, 64, 3), 128, "uint8")
    for severity, deviation in zip(SEVERITIES[:3], (10, 20, 30), strict=True):
        noise = corrupt(grey, 256, "gaussian noise", severity).astype(float) - 128
        assert noise.std() == pytest.approx(np.sqrt(deviation**2 + 1 / 12), rel=0.02)
        assert noise.mean() == pytest.approx(0, abs=0.5)


def test_blur_is_the_convolution_with_a_gaussian(smooth):
    taps = np.exp(-(np.arange(-6, 7) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    expected = smooth.astype(float)
    for axis in (1, 2):
        expected = convolve1d(expected, taps, axis=axis, mode="nearest")
    np.testing.assert_allclose(corrupt(smooth, 256, "blur", 5), expected, atol=0.51)


def test_contrast_and_brightness_by_hand():
    picture = np.uint8([[0, 100], [200, 100]])[None, ..., None]
    halved = corrupt(picture, 256, "contrast", 2)
    assert halved[0, ..., 0].tolist() == [[50, 100], [150, 100]]
    brighter = corrupt(picture, 256, "brightness", 4)
    assert brighter[0, ..., 0].tolist() == [[100, 200], [255, 200]]


def test_pixelation_is_the_mean_of_blocks(rng):
    images = rng.integers(0, 256, (2, 32, 16, 3), dtype="uint8")
    blocks = images.reshape(2, 16, 2, 8, 2, 3).mean(axis=(2, 4))
    spoilt = corrupt(images, 256, "pixelation", 3)
    expected = blocks.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(spoilt, expected, atol=1)


def test_occlusion_is_a_grey_square(rng):
    images = rng.integers(0, 100, (30, 20, 10, 3), dtype="uint8")
    changed = np.any(corrupt(images, 256, "occlusion", 4) != images, axis=-1)
    assert np.all(corrupt(images, 256, "occlusion", 4)[changed] == 128)
    assert list(changed.any(axis=2).sum(axis=1)) == [10] * 30
    assert list(changed.any(axis=1).sum(axis=1)) == [5] * 30
    assert set(changed.any(axis=2).argmax(axis=1)) == set(range(11))  # anywhere


def test_translation_moves_all_by_the_same():
    places = np.arange(16 * 16, dtype="uint8").reshape(16, 16)
    images = np.tile(places[None, ..., None], (20, 1, 1, 1))
    seen = set()
    for spoilt in corrupt(images, 256, "translation", 4):  # 4 of 16
        inner = spoilt[6:10, 6:10, 0].astype(int) - places[6:10, 6:10]
        assert len(np.unique(inner)) == 1
        seen.add(int(inner[0, 0]))
    assert seen == {down * 4 * 16 + right * 4 for down in (-1, 1) for right in (-1, 1)}


def test_levels_and_pixels(rng):
    """Spoiling is of what is seen, not of the numbers of the levels."""
    levels = rng.integers(0, 17, (3, 8, 8, 1), dtype="uint8")
    pixels = to_pixels(levels, 17)
    for name in CORRUPTIONS:
        expected = to_levels(corrupt(pixels, 256, name, 2), 17)
        np.testing.assert_array_equal(corrupt(levels, 17, name, 2), expected)


def test_bad_arguments():
    image = np.zeros((1, 2, 2, 1), "uint8")
    with pytest.raises(ValueError, match=r"`name`. Expected one of: gaussian noise, blur"):
        corrupt(image, 256, "fog", 1)
    with pytest.raises(ValueError, match=r"`severity`. Expected an integer from 1 to 5"):
        corrupt(image, 256, "blur", 0)
    with pytest.raises(UserError, match="2 channels"):
        corrupt(np.zeros((1, 2, 2, 2), "uint8"), 256, "blur", 1)
