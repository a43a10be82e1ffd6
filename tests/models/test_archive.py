import json
import zipfile

import hostile
import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.utils.errors import UserError

# Warnings of h5py and Keras about damaged archives.
pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore")]


def test_another_kind_of_model(archive):
    with pytest.raises(UserError, match="contains a PixelCNNPlusPlus, not a BaselineCNN"):
        load_trained_model(archive, BaselineCNN)


@pytest.mark.parametrize(
    ("class_name", "registered_name"),
    [
        ("Watched", "mine>Watched"),
        ("Sequential", None),
        ("__numpy__", "keras_pixelcnnpp>PixelCNNPlusPlus"),
        ("Unknown", "mine>Unknown"),
    ],
)
def test_another_class_is_refused_before_anything_is_made_of_it(
    tmp_path, class_name, registered_name
):
    made = []

    class Watched(keras.layers.Layer):
        @classmethod
        def from_config(cls, config):
            made.append(config)
            return cls()

    layer = {"module": None, "class_name": "Watched", "registered_name": "mine>Watched"}
    config = {
        "module": "keras" if registered_name is None else None,
        "class_name": class_name,
        "config": {"layers": [{**layer, "config": {}}]},
        "registered_name": registered_name,
    }
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    objects = keras.saving.custom_object_scope({"mine>Watched": Watched})
    with objects, pytest.raises(UserError, match=f"a {class_name}, not a PixelCNN") as error:
        load_trained_model(path)
    assert "\n" not in str(error.value)
    assert not made


def test_code_in_an_archive_is_not_run(archive, tmp_path, monkeypatch):
    """The code is in an argument of a model; where Keras makes layers of it, it runs."""
    monkeypatch.chdir(tmp_path)
    started = tmp_path / "started"
    code = keras.layers.Lambda(lambda x: (open("started", "w").close(), x)[1])  # noqa: PTH123
    layers = keras.saving.serialize_keras_object(keras.Sequential([keras.Input((2,)), code]))
    path = rewritten(archive, tmp_path / "model.keras", dtype=layers)
    started.unlink()
    keras.saving.deserialize_keras_object(layers, safe_mode=False)
    started.unlink()
    with pytest.raises(UserError, match=r"model\.keras cannot be loaded .*Sequential") as error:
        load_trained_model(path, PixelCNNPlusPlus)
    assert "\n" not in str(error.value)
    assert not started.exists()


def rewritten(archive, path, **changed):
    """Writes a copy of an archive with other arguments of the model; returns its path."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        config = json.loads(source.read("config.json"))
        config["config"] |= changed
        target.writestr("config.json", json.dumps(config))
        target.writestr("metadata.json", source.read("metadata.json"))
        target.writestr("model.weights.h5", source.read("model.weights.h5"))
    return path


def test_an_archive_that_unpacks_to_more(archive, tmp_path):
    path = rewritten(archive, tmp_path / "bomb.keras")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("assets/zeros", bytes(1 << 24))
    with pytest.raises(UserError, match=r"would unpack to .* bytes"):
        load_trained_model(path)


def test_another_format_with_an_archive_at_its_end(archive, tmp_path):
    """Keras would read the beginning, whose class is not checked."""
    path = tmp_path / "model.h5"
    keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]).save(path)
    path.write_bytes(path.read_bytes() + archive.read_bytes())
    with pytest.raises(UserError, match=r"name ends with \.keras"):
        load_trained_model(path)


@hostile.examples(200)
@given(data=st.data())
def test_any_archive(archive, data):
    path = archive.with_name("damaged.keras")
    path.write_bytes(data.draw(hostile.damaged([archive.read_bytes()])))
    hostile.result_or_one_line(load_trained_model, path, PixelCNNPlusPlus)
