"""The page, tested through Gradio's client, and the answers behind it."""

import gc
import io
import re
import secrets
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import hostile
import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.app.answers import ANY, NUM_COMPLETIONS, NUM_IMAGES, Answers
from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.data.images import image_grid, png_bytes
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

NAMES = ("dark", "gray", "<b>right")
IMAGES = tiny.tiny_split(6).images
KNOWN = np.ones(IMAGES.shape[1:3], bool)
KNOWN[1:3, 1] = False  # pixels before known ones
BLACK = Image.new("L", (4, 4))
TIFF = hostile.encoded(BLACK, "TIFF", save_all=True, append_images=[BLACK])
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra `app`")


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model(tiny.untrained_pixelcnn, class_names=NAMES)


@pytest.fixture(scope="module")
def answers(model):
    return Answers(TrainedModel(model, "tiny", {}))


def test_any_class_and_a_seed_that_gives_it_again(answers, model):
    found = answers.sample(seed=ANY)
    assert len(set(found.labels.tolist())) > 1
    expected = model.sample(found.labels, seed=found.seed)
    np.testing.assert_array_equal(found.images, expected)
    again = answers.sample(seed=found.seed)
    np.testing.assert_array_equal(again.images, found.images)


def test_complete(answers, model, monkeypatch):
    """Samples the classes from the posterior."""
    certain = np.array([[-999, -999, 0]], "float32")
    monkeypatch.setattr(model, "class_log_likelihoods", lambda images, observed: certain)
    found = answers.complete(IMAGES[0], KNOWN)
    assert found.labels.tolist() == [2] * NUM_COMPLETIONS
    with pytest.raises(UserError, match="Paint over part"):
        answers.complete(IMAGES[0], np.ones_like(KNOWN))


class TestKnownPixels:
    def test_most_of_an_unknown_pixel_is_painted(self, answers):
        height, width = KNOWN.shape
        layer = np.zeros((10 * height, 10 * width, 4), "uint8")
        layer[:16, :24] = 255  # 60% of the second row, 40% of the third column
        known = answers.known_pixels(hostile.encoded(Image.fromarray(layer)))
        expected = np.ones_like(KNOWN)
        expected[:2, :2] = False
        np.testing.assert_array_equal(known, expected)
        assert answers.known_pixels(None).all()

    def test_another_format_is_refused(self, answers):
        for layer in (EPS, hostile.encoded(BLACK, "TIFF"), b""):
            with pytest.raises(UserError, match="not an image"):
                answers.known_pixels(layer)


class TestClassify:
    def test_says_what_the_model_says(self, answers, model):
        found = answers.classify(IMAGES[1])
        assert tuple(found.probabilities) == NAMES
        expected = model.class_probabilities(IMAGES[1:2])[0]
        assert list(found.probabilities.values()) == pytest.approx(expected, rel=1e-4)
        lines = found.by_rows.axes[0].lines
        of_two = model.class_probabilities(IMAGES[1:2], observed=2)[0]
        plotted = sorted(line.get_ydata()[2] for line in lines)
        assert plotted == pytest.approx(sorted(of_two), rel=1e-4)
        label, other = np.argsort(-model.class_probabilities(IMAGES[1:2])[0])[:2]
        gain = model.log_prob(IMAGES[1:2], [label]) - model.log_prob(IMAGES[1:2], [other])
        (nats,) = [image.get_array() for image in found.evidence.axes[1].images]
        assert nats.sum() == pytest.approx(gain[0], rel=1e-3, abs=1e-4)
        assert f"against {NAMES[other]} " in found.evidence.axes[0].get_title(loc="left")

    def test_a_model_that_needs_more_than_a_class_is_refused(self):
        conditions = [kp.Labels(3), kp.Vectors(1, 0, 1)]
        model = tiny.untrained_pixelcnn(num_classes=None, conditions=conditions)
        with pytest.raises(UserError, match="3 classes and vectors"):
            Answers(TrainedModel(model, "tiny", {}))

    def test_a_model_without_classes(self):
        model = tiny.tiny_model(tiny.untrained_pixelcnn, num_classes=0, conditioning="none")
        answers = Answers(TrainedModel(model, "tiny", {}))
        found = answers.sample(seed=0)
        expected = model.sample(NUM_IMAGES, seed=0)
        np.testing.assert_array_equal(found.images, expected)
        assert answers.complete(IMAGES[0], KNOWN, seed=0).labels is None
        bits, _ = answers.score(IMAGES[0])
        assert bits == pytest.approx(model.bits_per_dim(IMAGES[:1])[0], rel=1e-5)


class TestRead:
    def test_crops_and_inverts(self, answers, tmp_path):
        pixels = np.zeros((8, 16, 3), "uint8")
        pixels[:, 4:12] = 255
        Image.fromarray(pixels).save(tmp_path / "wide.png")
        assert np.all(answers.read(tmp_path / "wide.png") == 255)
        assert np.all(answers.read(tmp_path / "wide.png", invert=True) == 0)

    def test_a_bad_file_gets_a_sentence(self, answers, tmp_path):
        path = tmp_path / "bad.png"
        with pytest.raises(UserError, match="no longer exists"):
            answers.read(path)
        path.write_bytes(b"no image at all")
        with pytest.raises(UserError, match="not an image") as error:
            answers.read(path)
        assert str(tmp_path) not in str(error.value)


@pytest.fixture(scope="class")
def address(answers, tmp_path_factory):
    """Serves the page while these tests run; yields its address."""
    with mock.patch.dict("os.environ", GRADIO_TEMP_DIR=str(tmp_path_factory.mktemp("uploads"))):
        from keras_pixelcnnpp.app.page import launch, make_page

        page = make_page(answers)
        yield launch(page, server_name="127.0.0.1")
        page.close(verbose=False)
    # Garbage collection finds Gradio's open resources here, where its warnings are ignored.
    gc.collect()


@pytest.fixture
def connect(address):
    from gradio_client import Client

    return lambda: Client(address, verbose=False, analytics_enabled=False)


@pytest.fixture
def upload(tmp_path):
    """Writes a file and returns an upload for the page."""
    from gradio_client import handle_file

    def write(content, name="image.png"):
        (tmp_path / name).write_bytes(content)
        return handle_file(str(tmp_path / name))

    return write


def editor_value(upload, painted):
    """Returns the value of the editor after painting pixels, bool `(height, width)`."""
    layer, file = painted[..., None].repeat(4, axis=2) * np.uint8(255), io.BytesIO()
    Image.fromarray(layer).resize((160, 160), Image.Resampling.NEAREST).save(file, "PNG")
    return {"background": None, "layers": [upload(file.getvalue(), "layer.png")], "composite": None}


def check_grid(path, images):
    """Checks that the page shows these images."""
    expected = image_grid(images, min(8, len(images)))[..., 0]
    np.testing.assert_array_equal(np.asarray(Image.open(path).convert("L")), expected)


@pytest.mark.extras
@needs_gradio
# Warnings of Gradio and its dependencies.
@pytest.mark.filterwarnings("ignore")
class TestPage:
    def test_classify_and_complete(self, connect, upload, model):
        given = upload(png_bytes(IMAGES[2]))
        posterior, *plots = connect().predict(given, False, api_name="/classify")
        expected = model.class_probabilities(IMAGES[2:3])[0]
        found = {row["label"]: row["confidence"] for row in posterior["confidences"]}
        assert [found[name] for name in NAMES] == pytest.approx(expected, abs=1e-4)
        assert all(plot["plot"].startswith("data:image/") for plot in plots)
        painted = editor_value(upload, ~KNOWN)
        path, _, posterior = connect().predict(
            given, False, painted, 1, 5, 1, 0, api_name="/complete"
        )
        images = IMAGES[[2] * NUM_COMPLETIONS]
        check_grid(path, model.complete(images, KNOWN, [1] * NUM_COMPLETIONS, seed=5))
        expected = model.class_log_likelihoods(IMAGES[2:3], observed=KNOWN)[0]
        assert posterior["label"] == NAMES[expected.argmax()]

    def test_a_visitor_without_an_image_gets_one(
        self, connect, upload, answers, model, monkeypatch
    ):
        """It is a sample, as the other tabs then get it."""
        monkeypatch.setattr(secrets, "randbelow", lambda high: 7)
        expected = answers.sample(seed=7).images[0]
        path, invert = connect().predict(api_name="/example")
        assert not invert
        content = Path(path).read_bytes()
        np.testing.assert_array_equal(answers.trained.read(content), expected)
        bits, _ = connect().predict(upload(content), invert, api_name="/score")
        assert bits == pytest.approx(model.bits_per_dim(expected[None])[0], abs=1e-3)

    def test_hostile_files_next_to_another_browser(self, connect, upload, tmp_path, monkeypatch):
        started = tmp_path / "started"
        ghostscript = tmp_path / "gs"
        ghostscript.write_text(f"#!/bin/sh\ntouch {started}\n")
        ghostscript.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        other = connect().submit(1, 1, 1, 0, api_name="/sample")
        client, given = connect(), upload(png_bytes(IMAGES[2]))
        for layers in ([upload(EPS, "b.png")], [given] * 30):
            value = {"background": layers[0], "layers": layers, "composite": layers[0]}
            with pytest.raises(ValueError, match=r"not an image|Expected one layer"):
                client.predict(given, False, value, 1, 5, 1, 0, api_name="/complete")
        for content in (EPS, hostile.png(60_000, 60_000), TIFF):
            with pytest.raises(ValueError, match=r"not an image|exceeds limit|several pages"):
                client.predict(upload(content, "image.tif"), False, api_name="/classify")
        assert other.result(120)[1].startswith("Seed 1")
        assert not started.exists()

    def test_the_layer_that_a_browser_sends(self, address, connect, upload):
        import httpx

        config = httpx.get(f"{address}config").json()
        (editor,) = [c["id"] for c in config["components"] if c["type"] == "imageeditor"]
        layer = np.zeros((280, 280, 4), "uint8")
        layer[70:210, 70:140] = 255
        files = [("layer", 2 * 10**9, EPS), ("background", "null", EPS), ("layer", "no", EPS)]
        for kind, index, content in [("layer", 0, hostile.encoded(Image.fromarray(layer))), *files]:
            facts = {"component_id": editor, "session_hash": "s", "fn_name": "accept_blobs"}
            facts |= {"type": kind, "index": index, "id": "mine"}
            place = f"{address}gradio_api/component_server"
            answer = httpx.post(place, data=facts, files={"file": ("layer.png", content)})
            assert answer.status_code == 200
        value = {"id": "mine", "background": None, "layers": [], "composite": None}
        given = upload(png_bytes(IMAGES[2])), False, value, 1, 5, 1, 0
        assert "Seed 5" in connect().predict(*given, api_name="/complete")[1]
        with pytest.raises(ValueError, match="Paint over part"):  # A layer is used once.
            connect().predict(*given, api_name="/complete")

    def test_foreign_names_are_refused_and_nothing_comes_from_elsewhere(self, address):
        import httpx

        for host, status in (("evil.example", 400), ("localhost:7860", 200), ("[::1]", 200)):
            assert httpx.get(address, headers={"Host": host}).status_code == status
        for path in ("", "theme.css"):
            text = httpx.get(address + path).text
            assert not re.search(r"fonts\.(googleapis|gstatic)\.com|cdnjs|cdn\.", text)

    def test_samples_of_several_browsers(self, connect, model):
        jobs = [connect().submit(seed, seed, 1, 0, api_name="/sample") for seed in range(3)]
        for seed, job in enumerate(jobs):
            path, words = job.result(120)
            check_grid(path, model.sample([seed] * NUM_IMAGES, seed=seed))
            assert words.startswith(f"Seed {seed}: {NAMES[seed]}, {NAMES[seed]}")


class TestCommand:
    def test_without_gradio(self, pixelcnnpp, monkeypatch):
        monkeypatch.setitem(sys.modules, "gradio", None)
        one_line(pixelcnnpp("app"), "pip install 'gradio>=")

    @pytest.mark.extras
    @needs_gradio
    @pytest.mark.slow
    def test_from_the_command_to_ctrl_c(self, model, tmp_path):
        model.save(tmp_path / "model.keras")
        command = [sys.executable, "-m", "pixelcnnpp", "app", "--model"]
        command += [tmp_path / "model.keras", "--port"]
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            failed = subprocess.run([*command, port], capture_output=True, text=True, check=False)
        one_line((failed.returncode, failed.stdout, failed.stderr), f"127.0.0.1:{port}", "--port")
        # A child process inherits ignored signals, such as those of a shell's background job.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [*command, port], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        signal.signal(signal.SIGINT, before)
        assert process.stdout.readline() == f"http://127.0.0.1:{port}\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert "Traceback" not in err
