import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.app.answers import Answers
from keras_pixelcnnpp.data.images import png_bytes, to_pixels
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

NAMES = ("dark", "grey", "<b>right")


@pytest.fixture(scope="module")
def model():
    return tiny.random_model()


@pytest.fixture(scope="module")
def answers(model):
    return Answers(TrainedModel(model, NAMES, "tiny"), no_baseline="No CNN")


@pytest.fixture
def write(tmp_path):
    """Writes a picture of the model's size, given as levels, and returns its path."""

    def write(levels, name="picture.png"):
        (tmp_path / name).write_bytes(png_bytes(to_pixels(np.asarray(levels), 5)))
        return str(tmp_path / name)

    return write
