"""Any config.json, preset or checkpoint gives data or a one-line error with the file name."""

import json
import shutil

import hostile
import keras
import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.training.checkpoints import Checkpoints
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import read_json, sha256, write_json

pytestmark = pytest.mark.once

CONFIG = {
    "data": {**tiny.tiny_data_config(tiny.tiny_dataset()), "source": "digits"},
    "pixelcnnpp": {"options": {"epochs": 1}, "model": {}},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    "content",
    [b"[]", b"\xff\xfe", b"[" * 200_000, b'{"a": ' + b"9" * 100_000 + b"}"],
    ids=["list", "UTF-16", "brackets", "digits"],
)
def test_no_json_object(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json is damaged: \S") as error:
        read_json(path)
    assert "\n" not in str(error.value)


def test_json_that_is_huge_or_no_file(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    for no_file in (path, tmp_path):
        with pytest.raises(UserError, match="at most 64 MB"):
            read_json(no_file)
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / "none.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("changed")


@hostile.examples(200)
@given(
    name=st.sampled_from([*CONFIG["data"], None]),
    value=VALUES,
    source=st.sampled_from(["digits", "/nowhere", ""]),
)
def test_any_entry_of_a_run(folder, name, value, source):
    data = {**CONFIG["data"], "source": source}
    config = {**CONFIG, "data": {**data, name: value} if name else value}
    (folder / "config.json").write_text(json.dumps(config))
    dataset = hostile.result_or_one_line(RunFolder(folder).load_data)
    assert dataset is None or isinstance(dataset, Dataset)


@hostile.examples(200)
@given(data=st.data())
def test_any_configuration_of_a_preset(preset, folder, data):
    content = json.loads((preset / "config.json").read_text())
    model = content["config"]
    name = data.draw(st.sampled_from([*model, "unknown"]))
    value = data.draw(st.sampled_from([None, -1, 0, 2**70, 1.5, "x", [], [1], {}]))
    content["config"] = {**model, name: value}
    (folder / "config.json").write_text(json.dumps(content))
    for file in ("metadata.json", "model.weights.h5"):
        shutil.copy(preset / file, folder)
    model = hostile.result_or_one_line(PixelCNNPlusPlus.from_preset, folder)
    if model is not None:
        log_probs = keras.ops.convert_to_numpy(model(tiny.IMAGES[:2]))
        assert np.isfinite(log_probs).all()


OTHER = {"class_name": "Lambda", "module": "keras.layers", "config": {"function": "f"}}


@pytest.mark.parametrize(
    "change",
    [
        {"registered_name": "keras_pixelcnnpp>BaselineCNN"},
        {"registered_name": ["keras_pixelcnnpp>PixelCNNPlusPlus"]},
        {"config": None},
        {"config": {"activity_regularizer": OTHER}},
        {"config": {"dtype": OTHER}},
        {"config": {"head": OTHER}},
        {"config": {"class_names": ["a", "b", "\x1b[2J"]}},
    ],
)
def test_a_preset_makes_models_of_this_package_alone(preset, tmp_path, change, monkeypatch):
    monkeypatch.setattr(keras.saving, "deserialize_keras_object", None)
    content = json.loads((preset / "config.json").read_text())
    if isinstance(change.get("config"), dict):
        change = {"config": {**content["config"], **change["config"]}}
    (tmp_path / "config.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError) as error:
        AutoregressiveModel.from_preset(tmp_path, load_weights=False)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("name", "value"), [("initial_weights", "hf://user/name"), ("data", "/"), ("jit_compile", True)]
)
@pytest.mark.parametrize("file", ["metadata.json", "config.json"])
def test_a_preset_sets_only_the_mathematics_of_a_training(preset, tmp_path, file, name, value):
    shutil.copytree(preset, tmp_path, dirs_exist_ok=True)
    content = read_json(tmp_path / file)
    content["training" if file == "metadata.json" else "config"][name] = value
    write_json(tmp_path / file, content)
    with pytest.raises(UserError, match=rf"{file}: {name} is not an option that a preset may set"):
        Preset(tmp_path).recipe()


def test_unknown_options_of_a_run_are_refused(run):
    config = run.read_config()
    config["pixelcnnpp"]["options"]["callback"] = ["planted:run"]
    write_json(run.config_json, config)
    with pytest.raises(UserError, match="damaged: Unknown options of a recipe: callback"):
        run.read_config()


def test_hostile_weights_of_a_preset_with_their_checksum(preset, tmp_path):
    shutil.copy(preset / "config.json", tmp_path)
    (tmp_path / "model.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    digest = sha256(tmp_path / "model.weights.h5")
    (tmp_path / "metadata.json").write_text(json.dumps({"sha256": digest}))
    assert hostile.result_or_one_line(PixelCNNPlusPlus.from_preset, tmp_path) is None


def test_hostile_checkpoint(tmp_path):
    model = tiny.tiny_model()
    model.compile(optimizer="adam")
    for array, message in ((np.array([{}]), "are damaged"), (np.ones(1), "another model")):
        np.savez(tmp_path / "epoch-0001.npz", model_00000=array)
        with pytest.raises(UserError, match=message):
            Checkpoints(tmp_path).restore(model)
