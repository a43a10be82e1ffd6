import numpy as np
import pytest
from PIL import Image

from keras_pixelcnnpp.evaluate.detectors import png_bits


def test_noise_needs_its_entropy_and_a_constant_next_to_nothing(rng):
    noise = rng.integers(0, 256, (2, 64, 64, 3), dtype="uint8")
    entropy = 8 * noise[0].size
    assert png_bits(noise, 256) == pytest.approx([entropy, entropy], rel=0.02)
    assert png_bits(np.zeros_like(noise), 256).max() < 0.02 * entropy


def test_is_the_size_of_a_file(rng, tmp_path):
    levels = rng.integers(0, 17, (1, 8, 8, 1), dtype="uint8")
    Image.fromarray(np.rint(levels[0, ..., 0] * (255 / 16)).astype("uint8")).save(
        tmp_path / "picture.png"
    )
    assert png_bits(levels, 17)[0] == 8 * (tmp_path / "picture.png").stat().st_size
