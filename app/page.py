"""The page, built from Gradio components, and its server."""

import functools
import html
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

# Gradio reads this variable on import; no usage statistics are sent.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# Gradio checks its own server, and must not use a proxy for that.
os.environ["no_proxy"] = f"{os.environ.get('no_proxy', '')},localhost,127.0.0.1"

import gradio as gr
from gradio.components.base import server

from keras_pixelcnnpp.app.answers import ANY, Answers, Samples
from keras_pixelcnnpp.commands.helpers import only_local_names
from keras_pixelcnnpp.data.images import as_image, image_grid
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.utils.errors import UserError

MAX_CLASSES = 10  # bars in a plot of class probabilities
COLUMNS = 8  # of sampled images
MAX_UPLOAD_MB = 20  # photographs of a phone are smaller
CANVAS_SIZE = 280  # approximate size of the painted image in pixels
BRUSH = 20  # radius of the brush in pixels
PAINT = "#ff3d00"
MAX_BYTES = 64 << 20  # of all layers; one of a few strokes has a few kilobytes
MAX_LAYERS = 10_000


def serve(answers: Answers, host: str, port: int | None, open_browser: bool) -> None:
    """Serves the page until SIGINT or SIGTERM; `UserError` if it cannot listen on the port."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="pixelcnnpp-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = make_page(answers)
        try:
            address = launch(page, server_name=host, server_port=port, inbrowser=open_browser)
        except OSError as error:
            place = f"{host}:{port or '7860 and the ports after it'}"
            raise UserError(
                f"Cannot listen on {place}: the port is in use, or the address does not belong to "
                "this machine. Use another --port, or leave it out to use a free port from 7860 on"
            ) from error
        try:
            print(address.rstrip("/"), flush=True)
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def launch(page: gr.Blocks, **options: Any) -> str:
    """Starts the server and returns its address. The page works offline, with system fonts."""
    theme = gr.themes.Default(font="system-ui", font_mono="monospace")
    # Further waiting requests, of all browsers together, get an error.
    _, address, _ = page.queue(max_size=32).launch(
        **options,
        app_kwargs={"middleware": only_local_names(options["server_name"])},
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        footer_links=[],
        max_file_size=f"{MAX_UPLOAD_MB}mb",
        theme=theme,
        css="img { image-rendering: pixelated; object-fit: contain !important; }",
    )
    return address


def make_page(answers: Answers) -> gr.Blocks:
    """Creates the page with its tabs. Browsers share no state."""
    model = answers.model
    height, width, channels = model.image_shape
    facts = f"images of {height}×{width}×{channels}, {model.num_classes} classes"
    # Every 600 seconds, uploads older than an hour are deleted.
    with gr.Blocks(title="keras-pixelcnnpp", delete_cache=(600, 3600)) as page:
        gr.Markdown(f"## {model.title}\n`{Path(answers.trained.source).name}`: {facts}")
        with gr.Tab("Sample"):
            _sample_tab(answers)
        with gr.Tab("Classify, score and complete"), gr.Row():
            with gr.Column(min_width=260):
                image, invert = _image_input(answers)
            with gr.Column(scale=2, min_width=300):
                if model.num_classes:
                    with gr.Tab("Classify"):
                        _classify_part(answers, image, invert)
                with gr.Tab("Score"):
                    _score_part(answers, image, invert)
                with gr.Tab("Complete"):
                    _complete_part(answers, image, invert)
    return page


def _sample_tab(answers: Answers) -> None:
    with gr.Row():
        with gr.Column(min_width=260):
            label = _class_choice(answers, "Class", "any")
            how = _how_to_sample(answers)
            button = gr.Button("Sample", variant="primary")
        with gr.Column(scale=2, min_width=300):
            shown = _sampled_images()

    def sample(label: int, *how: Any) -> tuple[Image.Image, str]:
        return _show(answers, answers.sample(label, *how))

    _on_click(button, sample, [label, *how], shown)


def _classify_part(answers: Answers, image: gr.Image, invert: gr.Checkbox) -> None:
    button = gr.Button("Classify", variant="primary")
    posterior = gr.Label(label="p(class | image)", num_top_classes=MAX_CLASSES)
    evidence = gr.Plot(label="Evidence of each pixel", show_label=False)
    by_rows = gr.Plot(label="p(class | first rows)")

    def classify(path: str | None, invert: bool) -> tuple:
        return answers.classify(answers.read(path, invert))

    _on_click(button, classify, [image, invert], [posterior, evidence, by_rows])


def _score_part(answers: Answers, image: gr.Image, invert: gr.Checkbox) -> None:
    button = gr.Button("Score", variant="primary")
    unit = bits_unit(answers.model.num_levels)
    bits = gr.Number(label=f"{unit}, p(x)", precision=3, interactive=False)
    improbable = gr.Plot(label="Where the image is surprising", show_label=False)

    def score(path: str | None, invert: bool) -> tuple:
        return answers.score(answers.read(path, invert))

    _on_click(button, score, [image, invert], [bits, improbable])


def _complete_part(answers: Answers, image: gr.Image, invert: gr.Checkbox) -> None:
    editor = _editor(answers, image, invert)
    label = _class_choice(answers, "Class", "sampled from p(class | known pixels)")
    with gr.Row():
        how = _how_to_sample(answers)
    button = gr.Button("Complete", variant="primary")
    shown = _sampled_images()
    posterior = gr.Label(
        label="p(class | known pixels)",
        num_top_classes=MAX_CLASSES,
        visible=bool(answers.model.num_classes),
    )

    def complete(
        path: str | None, invert: bool, painted: bytes | None, label: int, *how: Any
    ) -> tuple:
        pixels, known = answers.read(path, invert), answers.known_pixels(painted)
        found = answers.complete(pixels, known, label, *how)
        return *_show(answers, found), found.probabilities

    _on_click(button, complete, [image, invert, editor, label, *how], [*shown, posterior])


def _editor(answers: Answers, image: gr.Image, invert: gr.Checkbox) -> gr.ImageEditor:
    """Creates an editor that shows the image as the model sees it, enlarged."""
    height, width, _ = answers.model.image_shape
    enlarge = max(1, CANVAS_SIZE // max(height, width))
    editor = gr.ImageEditor(
        label="Paint over the unknown part",
        format="png",
        sources=(),
        transforms=(),
        layers=False,
        buttons=[],
        brush=gr.Brush(BRUSH, colors=[PAINT], color_mode="fixed"),
        eraser=gr.Eraser(BRUSH),
        canvas_size=(width * enlarge, height * enlarge),
    )
    layers = Layers()
    editor.preprocess = _showing_errors(layers.take)  # type: ignore[method-assign]

    @server
    def accept(sent: Any) -> None:
        layers.accept(sent)

    editor.accept_blobs = accept  # type: ignore[method-assign]

    @_showing_errors
    def show(path: str | None, invert: bool) -> Image.Image | None:
        if path is None:
            return None
        return as_image(answers.read(path, invert).repeat(enlarge, axis=0).repeat(enlarge, axis=1))

    gr.on([image.change, invert.change], show, [image, invert], editor, api_visibility="private")
    return editor


def _image_input(answers: Answers) -> tuple[gr.Image, gr.Checkbox]:
    image = gr.Image(label="Image file", type="filepath", image_mode=None, format="png", height=220)
    # Pass the file itself: Gradio would decode it without the limits of `open_image`.
    image.preprocess = lambda payload: payload and payload.path  # type: ignore[method-assign, assignment, return-value]
    invert = gr.Checkbox(label="Invert light and dark")
    button = gr.Button("Use a sample of the model", size="sm")

    def example() -> tuple[Image.Image, bool]:
        return as_image(answers.sample().images[0]), False

    _on_click(button, example, [], [image, invert])
    return image, invert


def _class_choice(answers: Answers, label: str, otherwise: str) -> gr.Dropdown:
    names = answers.model.class_names if answers.model.num_classes else ()
    choices = [(otherwise, ANY), *((name, index) for index, name in enumerate(names))]
    return gr.Dropdown(choices, value=ANY, label=label, visible=bool(names))


def _how_to_sample(answers: Answers) -> tuple[gr.Number, gr.Slider, gr.Slider]:
    """Creates the last inputs of `Answers.sample` and `Answers.complete`."""
    info = "below 1: more typical and smoother"
    temperature = gr.Slider(0.1, 1.5, value=1, step=0.05, label="Temperature", info=info)
    info, compared = "above 0: more typical of the class", answers.model.num_classes > 1
    guidance = gr.Slider(0, 5, value=0, step=0.5, label="Guidance", info=info, visible=compared)
    # Not an empty field, which Gradio would turn into 0.
    info = "-1: random"
    seed = gr.Number(ANY, label="Seed", info=info, precision=0, minimum=ANY)
    return seed, temperature, guidance


def _sampled_images() -> list:
    grid = gr.Image(label="Images", format="png", height=280, interactive=False)
    return [grid, gr.Textbox(label="Seed and classes", interactive=False)]


def _show(answers: Answers, samples: Samples) -> tuple[Image.Image, str]:
    words = f"Seed {samples.seed}"
    if samples.labels is not None:
        names = [answers.model.class_names[label] for label in samples.labels]
        words += f": {', '.join(names)}"
    return as_image(image_grid(samples.images, min(COLUMNS, len(samples.images)))), words


def _on_click(button: gr.Button, listener: Callable, inputs: list, outputs: list) -> None:
    # Requests run one at a time, since each uses all cores, and to bound the memory.
    one_at_a_time: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
    listen = _showing_errors(listener)
    button.click(listen, inputs, outputs, api_name=listener.__name__, **one_at_a_time)


def _showing_errors(listener: Callable) -> Callable:
    """Wraps a listener to show errors of its input in the page."""

    @functools.wraps(listener)
    def answer(*given: Any) -> tuple:
        try:
            return listener(*given)
        except ValueError as error:
            raise gr.Error(html.escape(str(error)), print_exception=False) from error

    return answer


class Layers:
    """The layers that browsers have painted, as contents of files.

    After each stroke, a browser sends its layer under a new number, and with a request only the
    last number. The oldest layers are dropped, because most are not requested. Gradio's own editor
    keeps all, also the files of the background, and decodes them in every format of Pillow.
    """

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def accept(self, sent: Any) -> None:
        """Keeps the file of the first layer, and ignores all others."""
        facts, files = getattr(sent, "data", None), getattr(sent, "files", None)
        if not (isinstance(facts, dict) and files and facts.get("type") == "layer"):
            return
        if facts.get("index") != "0":
            return
        with self._lock:
            self._contents[str(facts.get("id"))[:64]] = files[0][1]
            while len(self._contents) > MAX_LAYERS or self._num_bytes() > MAX_BYTES:
                self._contents.pop(next(iter(self._contents)))

    def _num_bytes(self) -> int:
        return sum(map(len, self._contents.values()))

    def take(self, value: Any) -> bytes | None:
        """Returns the layer in the value of an editor, or `None` if nothing is painted.

        Programs send the path of an uploaded file instead of a number.
        """
        if value is None:
            return None
        if value.id is not None:
            with self._lock:
                return self._contents.pop(value.id, None)
        if len(value.layers) > 1:
            raise UserError(f"Expected one layer. Received: {len(value.layers)}")
        return Path(value.layers[0].path).read_bytes() if value.layers else None
