"""The page as a browser meets it, through Gradio's own client."""

import base64
import io
import re
import signal
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec

import hostile
import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.data.images import to_pixels

ANY = -1
LEVELS = tiny.tiny_split(3).images
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra `app`")


def shown(html):
    """The pictures in a piece of the page: uint8 `[count, height, width]`."""
    files = map(base64.b64decode, re.findall(r'src="data:image/png;base64,([^"]+)"', html))
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])


@pytest.fixture(scope="module")
def address(answers, tmp_path_factory):
    """Where the page is, for as long as these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        from keras_pixelcnnpp.app.page import launch, make_page

        page = make_page(answers)
        with answers:
            yield launch(page, server_name="127.0.0.1")
            page.close(verbose=False)


@pytest.fixture
def connect(address):
    from gradio_client import Client

    return lambda: Client(address, verbose=False, analytics_enabled=False)


@pytest.fixture
def uploaded(write):
    from gradio_client import handle_file

    return handle_file(write(LEVELS[2]))


@needs_gradio
# Of Gradio and what it brings along.
@pytest.mark.filterwarnings("ignore")
class TestTabs:
    def test_draw(self, connect, model):
        job = connect().submit(2, 3, 1, 0, 7, False, api_name="/draw")
        html = job.result(60)
        np.testing.assert_array_equal(
            shown(html), to_pixels(model.sample([2] * 3, seed=7), 5)[..., 0]
        )
        assert "Seed 7, 4 of 4 rows" in html
        assert html.count("&lt;b&gt;right") == 6  # an alternative text and a caption each
        assert "<b>" not in html
        steps = [step for step in job.outputs() if "1 of 4 rows" in step]
        assert shown(steps[0]).shape == (3, 1, 4)

    def test_classify(self, connect, uploaded, model):
        seen, posterior, told, evidence, belief = connect().predict(
            uploaded, False, ANY, api_name="/classify"
        )
        np.testing.assert_array_equal(shown(seen), to_pixels(LEVELS[2:], 5)[..., 0])
        expected = model.class_probabilities(LEVELS[2:])[0]
        found = {row["label"]: row["confidence"] for row in posterior["confidences"]}
        assert [found[name] for name in ("dark", "grey")] == pytest.approx(expected[:2], abs=1e-4)
        # Read from the page, not written here: float32 may round either way at the third decimal.
        bits = float(re.search(r"([\d.]+) bits/dim", told)[1])
        assert bits == pytest.approx(model.bits_per_dim(LEVELS[2:])[0], rel=1e-5)
        assert "nats for" in evidence
        assert "row by row" in belief

    def test_evidence_against_any_class(self, connect, uploaded):
        for against in range(3):
            outputs = connect().predict(uploaded, False, against, api_name="/classify")
            name = ("dark", "grey", "&lt;b&gt;right")[against]
            assert f"against {name}" in outputs[3]
            assert f"for {name}" not in outputs[3]

    def test_complete(self, connect, uploaded, model):
        _, html = connect().predict(uploaded, False, 2, 1, 2, 1, 5, False, api_name="/complete")
        expected = model.complete(LEVELS[[2, 2]], 2, [1, 1], seed=5)
        np.testing.assert_array_equal(shown(html), to_pixels(expected, 5)[..., 0])

    def test_compress(self, connect, uploaded):
        pytest.importorskip("constriction")
        html, told = connect().predict(uploaded, False, api_name="/compress")
        first, second = shown(html)
        np.testing.assert_array_equal(first, second)
        assert "16 of 16 equal" in html
        assert "as WebP files" in told

    @pytest.mark.parametrize("content", [b"no picture", hostile.png(60_000, 60_000)])
    def test_a_bad_upload(self, connect, tmp_path, content):
        from gradio_client import handle_file

        (tmp_path / "bad.png").write_bytes(content)
        bad = handle_file(str(tmp_path / "bad.png"))
        seen, posterior, told, *_ = connect().predict(bad, False, ANY, api_name="/classify")
        assert (seen, told) == ("", "")
        assert not posterior

    def test_no_more_than_there_is(self, connect):
        with pytest.raises(Exception, match="16"):
            connect().predict(0, 17, 1, 0, 0, False, api_name="/draw")

    def test_two_browsers_do_not_mix(self, connect, model):
        found = {}

        def draw(seed):
            found[seed] = connect().predict(seed, 2, 1, 0, seed, False, api_name="/draw")

        threads = [threading.Thread(target=draw, args=[seed]) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for seed in range(3):
            expected = to_pixels(model.sample([seed] * 2, seed=seed), 5)[..., 0]
            np.testing.assert_array_equal(shown(found[seed]), expected)

    def test_nothing_comes_from_elsewhere(self, address):
        import httpx

        for path in ("", "theme.css"):
            text = httpx.get(address + path).text
            assert not re.search(r"fonts\.(googleapis|gstatic)\.com|cdnjs|cdn\.", text)


class TestCommand:
    def test_without_gradio(self, pixelcnnpp, monkeypatch):
        monkeypatch.setitem(sys.modules, "gradio", None)
        one_line(pixelcnnpp("app"), "pip install 'keras-pixelcnnpp[app]'")

    @needs_gradio
    def test_mistakes(self, pixelcnnpp):
        one_line(pixelcnnpp("app", "--preset", "nowhere"), "Unknown preset")
        one_line(pixelcnnpp("app", "--preset", "digits", "--run", "runs"), "2 of them")

    @needs_gradio
    @pytest.mark.slow
    def test_from_the_command_to_ctrl_c(self, model, tmp_path):
        model.save(tmp_path / "model.keras")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            command = [sys.executable, "-m", "keras_pixelcnnpp.cli", "app", "--model"]
            command += [tmp_path / "model.keras", "--port"]
            failed = subprocess.run(
                [*command, str(port)], capture_output=True, text=True, check=False
            )
        one_line((failed.returncode, failed.stdout, failed.stderr), f"127.0.0.1:{port}", "--port")
        # What is ignored here, as a shell makes what it starts in the background, is ignored there.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [*command, str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        signal.signal(signal.SIGINT, before)
        assert process.stdout.readline() == f"http://127.0.0.1:{port}\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, "", "")
