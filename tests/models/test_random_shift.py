import numpy as np
import pytest
from keras import ops
from serialization import check_config

from keras_pixelcnnpp.models.baseline_cnn import RandomShift


def shifted(image, down, right):
    """Plain NumPy: the border is repeated."""
    height, width, _ = image.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return image[rows][:, columns]


def test_each_picture_is_shifted_by_whole_pixels(rng):
    images = rng.random((64, 8, 16, 2), dtype="float32")
    moved = ops.convert_to_numpy(RandomShift(0.125, seed=1)(images, training=True))
    found = set()
    for image, result in zip(images, moved, strict=True):
        (shift,) = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-3, 4)
            if np.array_equal(shifted(image, down, right), result)
        ]
        found.add(shift)
    # An eighth of 8 and of 16: by 1 and by 2 pixels at most, each way.
    assert found <= {(down, right) for down in range(-1, 2) for right in range(-2, 3)}
    assert len(found) > 8


def test_nothing_moves_without_training(rng):
    images = rng.random((4, 8, 8, 1), dtype="float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(RandomShift(0.5)(images)), images)


def test_config():
    check_config(RandomShift, rate=0.25, seed=3)


def test_bad_rate():
    with pytest.raises(ValueError, match=r"argument `rate`.*Received: rate=1"):
        RandomShift(1)
