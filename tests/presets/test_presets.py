import json
import shutil

import h5py
import keras
import numpy as np
import pytest
import tiny
from keras import ops
from layer_checks import flat_weights
from sklearn.neighbors import KNeighborsClassifier

from keras_pixelcnnpp import presets
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.presets import Preset, preset_names
from keras_pixelcnnpp.recipes import existing
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import sha256, write_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

SPLIT = tiny.tiny_split(6)


@pytest.fixture
def saved(trained, tmp_path):
    trained.save_to_preset(tmp_path / "mine", {"training": {"epochs": 3}, "data": "tiny"})
    return tmp_path / "mine"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_gives_a_model(name):
    """Presets with weights agree with their cards."""
    preset = Preset(name)
    assert preset.training["epochs"] > 0
    assert preset.metadata["description"]
    model = AutoregressiveModel.from_preset(name, load_weights=preset.has_weights)
    config = json.loads(json.dumps(model.get_config()))
    assert config.items() >= preset.arguments.items()
    if preset.has_weights:
        metrics = preset.metadata["metrics"]
        low, high = metrics["accuracy_ci95"]
        assert 0 < low < metrics["accuracy"] < high < 1
        card = (preset.path / "README.md").read_text(encoding="utf-8")
        assert f"{100 * metrics['accuracy']:.1f}%" in card
        # Trained models give real images more probability than noise.
        smooth = np.full((1, *model.image_shape), 128, "uint8")
        noise = np.random.default_rng(0).integers(0, 256, smooth.shape).astype("uint8")
        likelier, less_likely = model.bits_per_dim(np.concatenate([smooth, noise]))
        assert likelier < less_likely


def test_weights_of_a_trained_model_have_no_optimizer(saved, tmp_path):
    trained = tiny.tiny_model()
    trained.compile(optimizer=keras.optimizers.Adam(use_ema=True))
    trained.fit(SPLIT.images, SPLIT.labels, verbose=0)
    trained.save_to_preset(tmp_path / "trained")
    size = (tmp_path / "trained" / "model.weights.h5").stat().st_size
    assert size == (saved / "model.weights.h5").stat().st_size
    restored = PixelCNNPlusPlus.from_preset(tmp_path / "trained")
    np.testing.assert_array_equal(
        restored.log_prob(SPLIT.images, SPLIT.labels), trained.log_prob(SPLIT.images, SPLIT.labels)
    )


def test_preset_of_digits_recognizes_its_images():
    """Otherwise, `evaluate` would not know which images the preset was trained on."""
    assert Preset("digits").metadata["fingerprint"] == load_dataset("digits").fingerprint()


@pytest.mark.slow
def test_preset_of_digits_is_as_accurate_as_its_card_says():
    metadata = Preset("digits").metadata
    images = load_dataset("digits").split(metadata["split"])
    assert len(images) == metadata["count"]
    model = PixelCNNPlusPlus.from_preset("digits")
    predicted = model.class_probabilities(images.images, batch_size=64).argmax(axis=1)
    accuracy = np.mean(predicted == images.labels)
    # Rounding may change the prediction of one image.
    assert accuracy == pytest.approx(metadata["metrics"]["accuracy"], abs=1.5 / len(images))


@pytest.mark.slow
def test_preset_of_digits_draws_what_a_classifier_reads():
    labels = np.repeat(np.arange(10), 4)
    sampled = PixelCNNPlusPlus.from_preset("digits").sample(labels, seed=0)
    train = load_dataset("digits").split("train")
    neighbors = KNeighborsClassifier(3).fit(train.images.reshape(len(train), -1), train.labels)
    assert neighbors.score(sampled.reshape(len(sampled), -1), labels) > 0.8


def test_name_of_a_built_in_preset_is_not_hidden(trained):
    with pytest.raises(UserError, match="digits is the name of a built-in preset"):
        trained.save_to_preset("digits")


def test_a_preset_that_cannot_be_written_leaves_the_old_one(saved, trained):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(ValueError, match="Out of range float"):
        tiny.untrained_model(num_levels=7).save_to_preset(saved, {"bits_per_dim": float("nan")})
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_the_folder_of_a_run_is_no_place_for_a_preset(run, trained):
    before = run.config_json.read_bytes()
    with pytest.raises(UserError, match="is the folder of a run"):
        trained.save_to_preset(run.path)
    assert run.config_json.read_bytes() == before


def test_without_weights(saved):
    (saved / "model.weights.h5").unlink()
    PixelCNNPlusPlus.from_preset(saved, load_weights=False)
    with pytest.raises(UserError, match=r"without weights.*load_weights=False"):
        PixelCNNPlusPlus.from_preset(saved)


def test_an_installed_package_says_where_weights_are_that_it_lacks(monkeypatch, tmp_path):
    shutil.copytree(Preset("photographs").path, tmp_path / "photographs")
    (tmp_path / "photographs" / "model.weights.h5").unlink()
    for module in (existing, presets):
        monkeypatch.setattr(module, "BUILT_IN_PRESETS", tmp_path)
    with pytest.raises(UserError, match=r"github.com/.*keras_pixelcnnpp/presets/photographs as"):
        PixelCNNPlusPlus.from_preset("photographs")
    assert PixelCNNPlusPlus.from_preset("photographs", load_weights=False).num_levels == 16


def test_damaged_weights(saved):
    path = saved / "model.weights.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights are damaged\. Expected sha256="):
        PixelCNNPlusPlus.from_preset(saved)


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"filters": 6}, "filters=6"),
        ({"num_blocks": 2, "num_mixtures": 2}, "num_blocks=2, num_mixtures=2"),
        ({"num_levels": 256}, "num_levels=256"),  # weights of the same shapes
    ],
)
def test_arguments_that_weights_do_not_fit(saved, arguments, received):
    with pytest.raises(
        UserError, match=f"Received: {received}\\. With load_weights=False"
    ) as error:
        PixelCNNPlusPlus.from_preset(saved, **arguments)
    assert "\n" not in str(error.value)
    model = PixelCNNPlusPlus.from_preset(saved, load_weights=False, **arguments)
    assert all(getattr(model, name) == value for name, value in arguments.items())


def test_arguments_of_the_training_leave_the_weights(saved, trained):
    arguments = {"dropout_rate": 0.1, "label_loss_weight": 0.5, "num_candidates": 2}
    arguments |= {"learn_logit_scale": False, "image_shape": (6, 4, 1), "dtype": "mixed_bfloat16"}
    restored = PixelCNNPlusPlus.from_preset(saved, **arguments)
    assert all(getattr(restored, n) == value for n, value in arguments.items() if n != "dtype")
    np.testing.assert_array_equal(flat_weights(restored.network), flat_weights(trained.network))
    assert restored.logit_scale == trained.logit_scale


def test_weights_that_lead_to_another_file(saved, tmp_path):
    """A preset of the Hub may be malicious and have a valid checksum."""
    path = saved / "model.weights.h5"
    with h5py.File(tmp_path / "other.h5", "w") as other, h5py.File(path, "r+") as weights:
        names = []
        weights.visit(names.append)
        name = next(name for name in names if isinstance(weights[name], h5py.Dataset))
        other["secret"] = weights[name][()]
        del weights[name]
        weights[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
    metadata = {**Preset(saved).metadata, "sha256": sha256(path)}
    write_json(saved / "metadata.json", metadata)
    with pytest.raises(UserError, match="not the weights"):  # although the linked file is
        PixelCNNPlusPlus.from_preset(saved)


def test_weights_for_classes_of_other_names(tmp_path):
    tiny.tiny_model(tiny.untrained_pixelcnn, class_names=tiny.NAMES).save_to_preset(tmp_path)
    with pytest.warns(UserWarning, match="in the order of: dark, gray, bright"):
        AutoregressiveModel.from_preset(tmp_path, class_names=["a", "b", "c"])
    AutoregressiveModel.from_preset(tmp_path, class_names=tiny.NAMES)  # without a warning


def test_weights_for_another_number_of_classes(tmp_path):
    """Those of the pixels' channels stay in convolutions that also see one-hot codes."""
    conditioning = "bias+film+spatial+one_hot"
    trained = tiny.tiny_model(conditioning=conditioning, class_names=tiny.NAMES)
    trained.save_to_preset(tmp_path)
    with pytest.warns(UserWarning, match=r"a model with 3 classes\. Those of the condition"):
        model = PixelCNNPlusPlus.from_preset(str(tmp_path), num_classes=5)
    assert model.num_classes == len(model.class_names) == 5
    head, of_trained = (each.network.head.direction for each in (model, trained))
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, (head, of_trained)))
    assert model.class_probabilities(SPLIT.images).shape == (6, 5)
    old, new = (
        {weight.path.split("/", 1)[1]: ops.convert_to_numpy(weight) for weight in each.weights}
        for each in (trained, model)
    )
    differing = [name for name in old if old[name].shape != new[name].shape]
    kernels = [name for name in differing if name.endswith("direction")]
    assert len(kernels) == 3  # the three convolutions that see pixels
    for name in kernels:
        pixels = old[name].shape[2] - 3
        assert new[name].shape[2] == pixels + 5
        np.testing.assert_array_equal(new[name][:, :, :pixels], old[name][:, :, :pixels])
        gain = name.removesuffix("direction") + "gain"
        before, after = (  # the kernels of the pixels, which are divided by the whole norm
            one[gain] * one[name][:, :, :pixels] / np.sqrt(np.sum(one[name] ** 2, axis=(0, 1, 2)))
            for one in (old, new)
        )
        np.testing.assert_allclose(after, before, rtol=1e-4)
        assert np.std(new[name][:, :, pixels:]) > 0
