import hostile
import keras
import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

# Of h5py and Keras, about what a damaged archive holds.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def archive(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "model.keras"
    trained.save(path)
    return path


def test_another_kind_of_model(archive):
    with pytest.raises(UserError, match="holds a PixelCNNPlusPlus, not a BaselineCNN"):
        load_trained_model(archive, BaselineCNN)


def test_an_h5_file_needs_no_custom_objects(trained, tmp_path):
    trained.save(tmp_path / "model.h5")
    loaded, images = keras.models.load_model(tmp_path / "model.h5"), tiny.tiny_split(6).images
    np.testing.assert_array_equal(loaded.predict(images), trained.predict(images))


@pytest.mark.once
def test_code_in_an_archive_is_not_run(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: 2 * x)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"model\.keras cannot be loaded .*Lambda") as error:
        load_trained_model(tmp_path / "model.keras", PixelCNNPlusPlus)
    assert "\n" not in str(error.value)


@pytest.mark.once
@examples(25)
@given(data=st.data())
def test_any_archive(archive, data):
    path = archive.with_name("damaged.keras")
    path.write_bytes(data.draw(hostile.damaged([archive.read_bytes()])))
    hostile.result_or_one_line(load_trained_model, path, PixelCNNPlusPlus)
