import json

import h5py
import keras
import numpy as np
import pytest
import tiny
from keras import ops
from sklearn.neighbors import KNeighborsClassifier

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.archive import model_from_preset
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.presets import (
    PresetFolder,
    likelihood_epochs,
    load_preset_config,
    preset_names,
)

SPLIT = tiny.tiny_split(6)


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model()


@pytest.fixture
def saved(model, tmp_path):
    model.save_to_preset(tmp_path / "mine", training={"epochs": 3}, metadata={"data": "tiny"})
    return tmp_path / "mine"


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_gives_a_model(name):
    config = load_preset_config(name)
    assert config["training"]["epochs"] > 0
    # Small, but with every other choice of the preset.
    masked = config["architecture"] != "pixelcnnpp"
    size = 2 ** (1 if masked else config["model"].get("num_resolutions", 3) - 1)
    widths = config["model"]["filters"]
    model = model_from_preset(
        name,
        load_weights=False,
        image_shape=(size, size, 1),
        num_classes=2,
        filters=2 if isinstance(widths, int) else [2] * len(widths),
        num_blocks=1,
    )
    for argument, value in config["model"].items():
        if argument not in ("image_shape", "num_classes", "filters", "num_blocks"):
            assert getattr(model, argument) == value, argument


def test_weights_of_a_trained_model_have_no_optimizer(saved, tmp_path):
    trained = tiny.tiny_model()
    trained.compile(optimizer=keras.optimizers.Adam(use_ema=True))
    trained.fit({"image": SPLIT.images, "label": SPLIT.labels}, verbose=0)
    trained.save_to_preset(tmp_path / "trained")
    size = (tmp_path / "trained" / "model.weights.h5").stat().st_size
    assert size == (saved / "model.weights.h5").stat().st_size
    restored = PixelCNNPlusPlus.from_preset(tmp_path / "trained")
    np.testing.assert_array_equal(
        restored.log_prob(SPLIT.images, SPLIT.labels), trained.log_prob(SPLIT.images, SPLIT.labels)
    )


TRAINED = [name for name in preset_names() if PresetFolder.find(name).has_weights]


@pytest.mark.slow
def test_preset_of_digits_is_as_accurate_as_its_card_says():
    metadata = json.loads((PresetFolder.find("digits").path / "metadata.json").read_text())
    images = load_dataset("digits").split(metadata["split"])
    assert len(images) == metadata["count"]
    model = PixelCNNPlusPlus.from_preset("digits")
    predicted = model.class_probabilities(images.images, batch_size=64).argmax(axis=1)
    accuracy = np.mean(predicted == images.labels)
    # One image may lie so near the border that rounding decides.
    assert accuracy == pytest.approx(metadata["metrics"]["accuracy"], abs=1.5 / len(images))


@pytest.mark.slow
def test_preset_of_digits_draws_what_a_classifier_reads():
    labels = np.repeat(np.arange(10), 4)
    drawn = PixelCNNPlusPlus.from_preset("digits").sample(labels, seed=0)
    train = load_dataset("digits").split("train")
    judge = KNeighborsClassifier(3).fit(train.images.reshape(len(train), -1), train.labels)
    assert judge.score(drawn.reshape(len(drawn), -1), labels) > 0.8


@pytest.mark.slow
def test_preset_of_digits_classifies_as_its_card_says():
    split = load_dataset("digits").split("test")
    probabilities = PixelCNNPlusPlus.from_preset("digits").predict(split.images, verbose=0)
    folder = PresetFolder.find("digits")
    expected = folder.metadata()["metrics"]["accuracy"]
    assert np.mean(probabilities.argmax(axis=1) == split.labels) == pytest.approx(expected)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_presets(name):
    """They load, and agree with their card about what they are."""
    model = PixelCNNPlusPlus.from_preset(name)
    assert int(model.initialized) == 1
    folder = PresetFolder.find(name)
    metadata = json.loads((folder.path / "metadata.json").read_text())
    low, high = metadata["metrics"]["accuracy_ci95"]
    assert 0 < low < metadata["metrics"]["accuracy"] < high < 1
    card = (folder.path / "README.md").read_text(encoding="utf-8")
    assert f"{100 * metadata['metrics']['accuracy']:.1f} %" in card
    assert folder.weights_path.stat().st_size < 20e6
    # Trained: real structure is likelier than noise.
    smooth = np.full((1, *model.image_shape), 128, "uint8")
    noise = np.random.default_rng(0).integers(0, 256, smooth.shape).astype("uint8")
    likelier, less_likely = model.bits_per_dim(np.concatenate([smooth, noise]))
    assert likelier < less_likely


def test_weights_of_half_precision_take_half_the_bytes(saved, tmp_path):
    trained = tiny.random_model()
    trained.save_to_preset(tmp_path / "whole")
    rounded = [value.astype("float16").astype(value.dtype) for value in trained.get_weights()]
    trained.set_weights(rounded)
    trained.save_to_preset(tmp_path / "half")
    restored = PixelCNNPlusPlus.from_preset(tmp_path / "half")
    for received, expected in zip(restored.get_weights(), rounded, strict=True):
        assert received.dtype == expected.dtype
        np.testing.assert_array_equal(received, expected)
    whole, half = (stored_bytes(tmp_path / name) for name in ("whole", "half"))
    assert half < 0.52 * whole


def stored_bytes(preset):
    """Of all arrays in the file of weights."""
    items = []
    with h5py.File(preset / "model.weights.h5") as file:
        file.visititems(lambda _, item: items.append(getattr(item, "nbytes", 0)))
    return sum(items)


def test_without_weights(saved):
    (saved / "model.weights.h5").unlink()
    assert int(PixelCNNPlusPlus.from_preset(saved).initialized) == 0
    with pytest.raises(UserError, match="weights"):
        PixelCNNPlusPlus.from_preset(saved, load_weights=True)


def test_damaged_weights(saved):
    path = saved / "model.weights.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights are damaged\. Expected sha256="):
        PixelCNNPlusPlus.from_preset(saved)


@pytest.mark.parametrize("arguments", [{"filters": 6}, {"num_blocks": 2}])
def test_weights_of_another_shape(saved, arguments):
    with pytest.raises(UserError, match="not the weights of this model") as error:
        PixelCNNPlusPlus.from_preset(saved, **arguments)
    assert "\n" not in str(error.value)


def test_damaged_config(saved):
    path = saved / "config.json"
    edit_json(path, lambda content: content.pop("training"))
    with pytest.raises(UserError, match=r"config\.json: the section 'training' is missing"):
        load_preset_config(saved)
    for text in ("{", "[]", ""):
        path.write_text(text)
        with pytest.raises(UserError, match=r"config\.json is damaged: "):
            load_preset_config(saved)


def test_weights_for_another_number_of_classes(tmp_path):
    trained = tiny.tiny_model(conditioning="bias+film")
    trained.save_to_preset(tmp_path)
    with pytest.warns(UserWarning, match="a model of 3 classes. Not taken.*posterior/class_bias"):
        model = PixelCNNPlusPlus.from_preset(str(tmp_path), num_classes=5)
    assert model.num_classes == 5
    np.testing.assert_array_equal(
        ops.convert_to_numpy(model.network.head.direction),
        ops.convert_to_numpy(trained.network.head.direction),
    )
    assert model.class_probabilities(tiny.tiny_split(2).images).shape == (2, 5)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"epochs": "44"}, {"likelihood_epochs": -1}])
def test_epochs_that_are_no_numbers(wrong):
    with pytest.raises(UserError, match=r"whole numbers.*Received: epochs"):
        likelihood_epochs({"epochs": 4, "likelihood_epochs": 1, **wrong}, 10)
