import numpy as np
import pytest
from keras import ops

from keras_pixelcnnpp.distributions.levels import quantize, to_images, to_levels

IMAGES = np.arange(256, dtype="uint8")


@pytest.mark.once
def test_levels_are_rounded_as_by_numpy_and_come_back_exactly():
    for num_levels in range(2, 257):
        steps = num_levels - 1
        levels, every = to_levels(IMAGES, num_levels), np.arange(num_levels)
        # There are no ties, since 2 x (L - 1) is even and 255 is odd.
        np.testing.assert_array_equal(levels, np.rint(np.arange(256) * steps / 255))
        images = to_images(every, num_levels)
        assert levels.dtype == images.dtype == np.uint8
        tied = 510 * every % (2 * steps) == steps
        expected = np.where(tied, np.floor(every * 255 / steps) + 1, np.rint(every * 255 / steps))
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(to_levels(images, num_levels), every)
        kept = quantize(IMAGES, num_levels)
        np.testing.assert_array_equal(quantize(kept, num_levels), kept)
        assert np.abs(kept.astype(int) - IMAGES).max() <= 255 / steps / 2 + 0.5


@pytest.mark.parametrize("num_levels", [2, 17, 255, 256])
def test_tensors_become_what_arrays_become(num_levels):
    images = ops.convert_to_tensor(IMAGES)
    levels = to_levels(images, num_levels)
    assert ops.is_tensor(levels)
    np.testing.assert_array_equal(ops.convert_to_numpy(levels), to_levels(IMAGES, num_levels))
    # Samplers have levels as floats.
    kept = to_images(ops.cast(levels, "float32"), num_levels)
    np.testing.assert_array_equal(ops.convert_to_numpy(kept), quantize(IMAGES, num_levels))


@pytest.mark.once
@pytest.mark.parametrize(
    ("convert", "values", "num_levels", "message"),
    [
        # Images from 0 to 1 would become almost black ones.
        (to_images, [0.0, 0.5, 1.0], 17, r"from 0 to 16\. Received: fractions, values from 0\.0"),
        (to_images, [0, 17], 17, "whole floats from 0 to 16. Received: values from 0 to 17"),
        (to_images, [0], 1, "num_levels=1"),
        (to_levels, [0.0, 0.5, 1.0], 17, r"from 0 to 255\. Received: dtype=float64\. Convert all"),
    ],
)
def test_what_is_no_level_or_image_is_refused(convert, values, num_levels, message):
    """For the checks of images, see test_checks."""
    with pytest.raises(ValueError, match=message):
        convert(np.array(values), num_levels)


@pytest.mark.once
def test_missing_values_are_refused_with_code_that_replaces_them():
    levels = np.array([np.nan, 1.0, np.inf])
    with pytest.raises(ValueError, match=r"NaN or infinity in 2 of 3 values.* with ") as caught:
        to_images(levels, 17)
    code = str(caught.value).split(" with ")[1].split(". Methods")[0]
    np.testing.assert_array_equal(eval(code), [0, 1, 0])
