import hashlib
import json
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from unittest.mock import create_autospec

import numpy as np
import pytest
import tiny
from command_line import done, one_line
from PIL import Image

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = [pytest.mark.extras, pytest.mark.once, pytest.mark.eagerly]
COMMIT = "c" * 40
FILES = {"config.json", "metadata.json", "model.weights.h5"}
SPLIT = tiny.tiny_split(6)


class Handler(SimpleHTTPRequestHandler):
    """Serves files at the URLs of a Hugging Face Hub."""

    def end_headers(self):
        tag = hashlib.sha1(self.path.encode()).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "X-Error-Code": "RepoNotFound"}
        for name, value in headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(trained, tmp_path):
    """A hub with two repositories: `user/mine`, a preset with a code file, and an empty one."""
    content = tmp_path / "user/mine/resolve" / COMMIT
    trained.save_to_preset(content)
    (content / "model.py").write_text("raise SystemExit")
    tree = [{"path": file.name, "size": file.stat().st_size} for file in content.iterdir()]
    tree = [{"type": "file", "oid": entry["path"], **entry} for entry in tree]
    for name, entries in (("user/mine", tree), ("user/empty", [])):
        answers = {"revision/main": {"id": name, "sha": COMMIT}, f"tree/{COMMIT}": entries}
        for place, answer in answers.items():
            file = tmp_path / "api/models" / name / place
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(answer))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """`huggingface_hub` with this hub only and an empty cache."""
    hub = pytest.importorskip("huggingface_hub")
    where = {"endpoint": f"http://127.0.0.1:{server.server_port}", "cache_dir": tmp_path / "cache"}
    monkeypatch.setattr(hub, "snapshot_download", partial(hub.snapshot_download, **where))
    return hub


@pytest.mark.usefixtures("hub")
def test_what_is_downloaded_is_what_was_saved_without_code(trained, tmp_path):
    expected = trained.log_prob(SPLIT.images, SPLIT.labels)
    for name in ("hf://user/mine", f"hf://user/mine@{COMMIT}"):
        model = kp.AutoregressiveModel.from_preset(name)
        np.testing.assert_array_equal(model.log_prob(SPLIT.images, SPLIT.labels), expected)
    assert {file.name for file in tmp_path.rglob(f"snapshots/{COMMIT}/*")} == FILES


def test_what_is_uploaded(preset, hub, monkeypatch):
    for name in ("create_repo", "upload_folder"):
        monkeypatch.setattr(hub, name, create_autospec(getattr(hub, name)))
    kp.upload_preset("hf://user/mine", preset)
    hub.create_repo.assert_called_once_with("user/mine", exist_ok=True)
    given = hub.upload_folder.call_args.kwargs
    assert (given["repo_id"], given["folder_path"]) == ("user/mine", preset)
    names = [*(file.name for file in preset.iterdir()), "notes.py"]
    uploaded = hub.utils.filter_repo_objects(names, allow_patterns=given["allow_patterns"])
    assert set(uploaded) == {"README.md", *FILES}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", ["user/none", "user/empty", "user/mine@none", "user/mine/x", ""])
def test_what_is_not_on_the_hub_is_one_line(name):
    with pytest.raises(UserError, match=f"hf://{name}") as error:
        kp.AutoregressiveModel.from_preset(f"hf://{name}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("uri", ["hf://user/mine", "user/mine", "hf://mine", "hf://a/b/c"])
def test_what_is_not_uploaded(hub, preset, monkeypatch, uri):
    monkeypatch.setattr(hub, "create_repo", create_autospec(hub.create_repo))
    with pytest.raises(UserError) as error:
        kp.upload_preset(uri, "digits" if uri == "hf://user/mine" else preset)  # no such folder
    assert "\n" not in str(error.value)
    hub.create_repo.assert_not_called()


@pytest.mark.usefixtures("hub")
def test_commands_without_a_network(server, pixelcnnpp, tmp_path):
    Image.fromarray(SPLIT.images[0, ..., 0]).save(tmp_path / "image.png")
    classify = ("classify", tmp_path / "image.png", "--preset")
    kp.AutoregressiveModel.from_preset("hf://user/mine")
    server.shutdown()
    server.server_close()
    done(pixelcnnpp(*classify, "hf://user/mine"))
    one_line(pixelcnnpp(*classify, "hf://user/none"), "hf://user/none")


def test_card_is_one_that_the_hub_reads(trained, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    trained.save_to_preset(tmp_path)
    data = hub.ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("keras", "image-classification")
    (tmp_path / "README.md").write_text("mine")
    trained.save_to_preset(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install 'huggingface_hub>="):
        kp.AutoregressiveModel.from_preset("hf://user/mine")
