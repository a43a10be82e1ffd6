import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from command_line import one_line
from hub_server import COMMIT, serve_hub
from PIL import Image

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel

pytestmark = pytest.mark.extras
FILES = {"config.json", "metadata.json", "model.weights.h5"}
SPLIT = tiny.tiny_split(6)
NAMES = ["user/none", "user/folder", "user/folder@none", "user/folder/x", ""]
# huggingface_hub reads HF_ENDPOINT when it is imported.
IN_A_FRESH_PROCESS = """
import json, sys
import keras_pixelcnnpp as kp

def message(function, *arguments):
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)

folder, names, commit, images, labels = json.load(sys.stdin)
kp.upload_preset("hf://user/mine", folder)
log_probs = []
for name in ("hf://user/mine", f"hf://user/mine@{commit}"):
    model = kp.AutoregressiveModel.from_preset(name)
    log_probs.append(model.log_prob(images, labels).tolist())
load = [message(kp.AutoregressiveModel.from_preset, f"hf://{name}") for name in names]
upload = [message(kp.upload_preset, "hf://user/mine", "no folder")]
upload += [message(kp.upload_preset, uri, folder) for uri in ("user/mine", "hf://mine", "hf://a/b/c")]
print(json.dumps([log_probs, load, upload]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model, folder = tiny.tiny_model(), tmp_path_factory.mktemp("presets") / "mine"
    model.save_to_preset(folder)
    return model, folder


@pytest.fixture(scope="module")
def online(saved, tmp_path_factory):
    """What happened with a hub of two repositories: its server, log-likelihoods, messages."""
    pytest.importorskip("huggingface_hub")
    (saved[1] / "notes.py").write_text("private = True")
    files = {
        "user/mine": {"model.py": b"raise SystemExit"},
        "user/folder": {"README.md": b"", "config.json.txt": b"{}"},
    }
    settings = {"HF_HOME": str(tmp_path_factory.mktemp("hub")), "HF_TOKEN": "hf_test"}
    data = [str(saved[1]), NAMES, COMMIT, SPLIT.images.tolist(), SPLIT.labels.tolist()]
    with serve_hub(files) as hub:
        done = subprocess.run(
            [sys.executable, "-c", IN_A_FRESH_PROCESS],
            env={**os.environ, **settings, "HF_ENDPOINT": hub.url},
            input=json.dumps(data),
            capture_output=True,
            check=False,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    log_probs, load, upload = json.loads(done.stdout)
    return SimpleNamespace(hub=hub, log_probs=log_probs, load=load, upload=upload)


def test_what_is_uploaded_is_what_is_downloaded(saved, online):
    assert online.hub.files["user/mine"].keys() == {"model.py", "README.md", *FILES}
    assert online.hub.read == FILES
    expected = saved[0].log_prob(SPLIT.images, SPLIT.labels)
    for log_probs in online.log_probs:
        np.testing.assert_allclose(log_probs, expected, rtol=1e-6)


def test_what_is_not_on_the_hub_is_one_line(online):
    assert not any("\n" in message for message in online.load + online.upload)
    for message, name in zip(online.load, NAMES, strict=True):
        assert f"hf://{name}" in message
    assert online.hub.files.keys() == {"user/mine", "user/folder"}


@pytest.fixture
def hub_settings(monkeypatch, tmp_path):
    """Sets what huggingface_hub has read of HF_HUB_CACHE, HF_HUB_OFFLINE and HF_ENDPOINT."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return lambda **settings: [
        monkeypatch.setattr(constants, name, value) for name, value in settings.items()
    ]


def test_commands_without_a_network(saved, hub_settings, pixelcnnpp, tmp_path):
    folder = tmp_path / "hub" / "models--user--mine"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots").mkdir()
    saved[0].save_to_preset(folder / "snapshots" / COMMIT)
    Image.fromarray(SPLIT.images[0, ..., 0]).save(tmp_path / "image.png")
    classify = ("classify", str(tmp_path / "image.png"), "--preset")
    for settings in ({"HF_HUB_OFFLINE": True}, {"ENDPOINT": "http://127.0.0.1:9"}):
        hub_settings(**{"HF_HUB_OFFLINE": False, **settings})
        status, _, err = pixelcnnpp(*classify, "hf://user/mine")
        assert status == 0, err
        one_line(pixelcnnpp(*classify, "hf://user/none"), "hf://user/none")


def test_card_is_one_that_the_hub_reads(saved, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    saved[0].save_to_preset(tmp_path)
    data = hub.ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("keras", "image-classification")
    (tmp_path / "README.md").write_text("mine")
    saved[0].save_to_preset(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        AutoregressiveModel.from_preset("hf://user/mine")


def test_a_preset_is_saved_before_it_is_uploaded():
    with pytest.raises(UserError, match="Nothing can be written to a URL"):
        tiny.tiny_model().save_to_preset("hf://user/mine")
