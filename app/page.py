"""The page, made of Gradio's components, and the server that shows it on this machine."""

import functools
import html
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

# Before Gradio is imported, which reads it once: nothing is told to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Gradio asks its own server whether it is there, and must not ask a proxy.
os.environ["no_proxy"] = f"{os.environ.get('no_proxy', '')},localhost,127.0.0.1"

import gradio as gr

from keras_pixelcnnpp.app.answers import MOST_PICTURES, Answers, Compression, Drawing, Picture
from keras_pixelcnnpp.app.figures import (
    CSS,
    belief_png,
    belonging_text,
    evidence_png,
    pictures_html,
    plot_html,
)
from keras_pixelcnnpp.codec.coder import require_constriction
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.errors import UserError, is_out_of_memory

ANY, MOST_CLASSES = -1, 10
# Of one upload; the pictures of a telephone have less.
LARGEST_FILE = "20mb"
# Questions that wait, of all browsers together: one more is told to come back later.
MOST_WAITING = 32
# Seconds: an upload is deleted when it is an hour old.
DELETE_CACHE = (600, 3600)
# One at a time: the model has all cores, and the memory of one question.
ASKS_MODEL = {"concurrency_id": "model", "concurrency_limit": 1}


def serve(answers: Answers, host: str, port: int | None, open_browser: bool) -> None:
    """Shows the page until SIGINT or SIGTERM.

    Raises:
        UserError: If the address can't be listened on.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="pixelcnnpp-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = make_page(answers)
        try:
            address = launch(page, server_name=host, server_port=port, inbrowser=open_browser)
        except OSError as error:
            place = f"{host}:{port or '7860 and the ports after it'}"
            raise UserError(
                f"Cannot listen on {place}: taken, or no address of this machine. Another port: "
                "--port NUMBER; without it, the next free one from 7860"
            ) from error
        try:
            print(address.rstrip("/"), flush=True)
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def launch(page: gr.Blocks, **options) -> str:
    """Starts the server; returns its address. Offline: system fonts, no link from outside."""
    fonts = {
        "font": ["system-ui", "sans-serif"],
        "font_mono": ["ui-monospace", "monospace"],
    }
    _, address, _ = page.queue(max_size=MOST_WAITING).launch(
        **options,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        max_file_size=LARGEST_FILE,
        state_session_capacity=1000,
        theme=gr.themes.Default(**fonts),
        css=CSS,
    )
    return address


def make_page(answers: Answers) -> gr.Blocks:
    """The page with its tabs. What one browser asks leaves nothing behind for the next."""
    height, width, channels = answers.model.image_shape
    facts = f"{height}×{width}×{channels}, {answers.model.num_classes} classes"
    page = gr.Blocks(title="keras-pixelcnnpp", analytics_enabled=False, delete_cache=DELETE_CACHE)
    with page:
        name = Path(answers.trained.source).name
        gr.Markdown(f"## {answers.model.title}\n`{name}`: pictures of {facts}")
        inputs = []
        with gr.Tab("Draw"):
            _draw_tab(answers)
        with gr.Tab("Classify"):
            inputs.append(_classify_tab(answers))
        with gr.Tab("Complete"):
            inputs.append(_complete_tab(answers))
        with gr.Tab("Compress"):
            inputs.append(_compress_tab(answers))
        with gr.Tab("Compare"):
            inputs.append(_compare_tab(answers))
        _share_pictures(page, answers, [given for given in inputs if given])
    return page


def _draw_tab(answers: Answers) -> None:
    can_guide = answers.model.label_dropout_rate > 0
    with gr.Row():
        with gr.Column(min_width=260):
            label = _class_choice(answers, "Class", "any, drawn at random")
            count = gr.Slider(1, MOST_PICTURES, value=8, step=1, label="Pictures")
            temperature = _temperature()
            guidance = gr.Slider(
                *(0, 4),
                value=0,
                step=0.25,
                label="Guidance",
                info="above 0: more typical of the class",
                visible=can_guide,
            )
            if answers.model.num_classes and not can_guide:
                gr.Markdown("No guidance: this model was trained without label dropout.")
            seed, is_new = _seed()
            with gr.Row():
                button = gr.Button("Draw", variant="primary", min_width=120)
                stop = gr.Button("Stop", min_width=120)
        with gr.Column(scale=2, min_width=300):
            drawn = gr.HTML()

    @_with_sentences("")
    def draw(label, count, temperature, guidance, seed, is_new):
        arguments = {
            "seed": None if is_new else seed,
            "temperature": temperature,
            "guidance": guidance,
        }
        for drawing in answers.draw(_label(label), count, **arguments):
            yield _growing(answers, drawing)

    given = [label, count, temperature, guidance, seed, is_new]
    event = button.click(draw, given, drawn, api_name="draw", **ASKS_MODEL)
    stop.click(None, cancels=event)


def _classify_tab(answers: Answers) -> tuple:
    names = answers.trained.class_names
    with gr.Row():
        with gr.Column(min_width=260):
            image, invert, gallery = _picture_input()
            button = gr.Button("Classify", variant="primary")
            seen = gr.HTML()
        with gr.Column(scale=2, min_width=300):
            posterior = _posterior(answers, "p(class | picture)")
            belongs = gr.Markdown()
            against = _class_choice(answers, "Evidence against", "the next most probable class")
            evidence = gr.HTML()
            belief = gr.HTML()

    @_with_sentences("", None, "", "", "")
    def classify(path, invert, against):
        picture = answers.read(path, invert)
        judgement = answers.judge(picture.levels[None])
        told = belonging_text(judgement, answers.drawn())
        if judgement.belief is None:
            yield _as_seen(answers, picture), None, told, "", ""
            return
        rows = judgement.belief[0]
        plot = plot_html(belief_png(rows, names), "The belief in each class, row by row")
        shown = _evidence(answers, picture, rows[-1], against)
        yield _as_seen(answers, picture), _bars(rows[-1], names), told, shown, plot

    outputs = [seen, posterior, belongs, evidence, belief]
    given = [image, invert, against]
    button.click(classify, given, outputs, api_name="classify", **ASKS_MODEL)
    against.input(classify, given, outputs, api_visibility="private", **ASKS_MODEL)
    return image, gallery


def _complete_tab(answers: Answers) -> tuple:
    height = answers.model.image_shape[0]
    with gr.Row():
        with gr.Column(min_width=260):
            image, invert, gallery = _picture_input()
            rows = gr.Slider(
                *(0, height), value=height // 2, step=1, label="Rows known, from above"
            )
            label = _class_choice(answers, "Class", "drawn from p(class | known rows)")
            count = gr.Slider(1, MOST_PICTURES, value=8, step=1, label="Completions")
            temperature = _temperature()
            seed, is_new = _seed()
            button = gr.Button("Complete", variant="primary")
        with gr.Column(scale=2, min_width=300):
            seen, drawn = gr.HTML(), gr.HTML()

    @_with_sentences("", "")
    def complete(path, invert, rows, label, count, temperature, seed, is_new):
        picture = answers.read(path, invert)
        shown = _as_seen(answers, picture)
        arguments = {"seed": None if is_new else seed, "temperature": temperature}
        for drawing in answers.complete(picture, rows, _label(label), count, **arguments):
            yield shown, _growing(answers, drawing)

    given = [image, invert, rows, label, count, temperature, seed, is_new]
    button.click(complete, given, [seen, drawn], api_name="complete", **ASKS_MODEL)
    return image, gallery


def _compress_tab(answers: Answers) -> tuple | None:
    try:
        require_constriction()
    except UserError as error:
        gr.Markdown(f"{error}")
        return None
    with gr.Row():
        with gr.Column(min_width=260):
            image, invert, gallery = _picture_input()
            button = gr.Button("Compress", variant="primary")
        with gr.Column(scale=2, min_width=300):
            shown, told = gr.HTML(), gr.Markdown()

    @_with_sentences("", "")
    def compress(path, invert):
        picture = answers.read(path, invert)
        result = answers.compress(picture)
        pair = to_pixels(np.stack([picture.levels, result.levels]), answers.model.num_levels)
        equal = int(np.sum(np.all(picture.levels == result.levels, axis=-1)))
        captions = ["as the model sees it", f"decompressed: {equal} of {height * width} equal"]
        yield pictures_html(pair, captions), _sizes(answers, result)

    height, width, _ = answers.model.image_shape
    button.click(compress, [image, invert], [shown, told], api_name="compress", **ASKS_MODEL)
    return image, gallery


def _compare_tab(answers: Answers) -> tuple | None:
    if answers.baseline is None:
        gr.Markdown(answers.no_baseline)
        return None
    names = answers.trained.class_names
    with gr.Row():
        with gr.Column(min_width=260):
            image, invert, gallery = _picture_input()
            button = gr.Button("Compare", variant="primary")
            seen = gr.HTML()
        with gr.Column(scale=2, min_width=300):
            told = gr.Markdown()
            with gr.Row():
                ours, theirs = _posterior(answers, answers.model.title), _posterior(answers, "CNN")

    @_with_sentences("", "", None, None)
    def compare(path, invert):
        picture = answers.read(path, invert)
        belief, cnn = answers.judge(picture.levels[None]).belief[0, -1], answers.ask_cnn(picture)
        words = "They agree." if belief.argmax() == cnn.argmax() else "They disagree."
        yield _as_seen(answers, picture), words, _bars(belief, names), _bars(cnn, names)

    outputs = [seen, told, ours, theirs]
    button.click(compare, [image, invert], outputs, api_name="compare", **ASKS_MODEL)
    return image, gallery


def _share_pictures(page: gr.Blocks, answers: Answers, inputs: list[tuple]) -> None:
    """A picture chosen in one tab is there in the others; fills the galleries."""
    images, galleries = [image for image, _ in inputs], [gallery for _, gallery in inputs]

    def choose(event: gr.SelectData):
        return [_grey_as_rgb(answers.examples()[event.index])] * len(images)

    def fill():
        return [[_grey_as_rgb(pixels) for pixels in answers.examples()]] * len(galleries)

    for image, gallery in inputs:
        others = [other for other in images if other is not image]
        to_others = f"picture => Array({len(others)}).fill(picture)"
        image.input(None, image, others, js=to_others, api_visibility="private")
        gallery.select(choose, None, images, api_visibility="private")
    page.load(fill, None, galleries, api_visibility="private", concurrency_limit=None)


def _picture_input() -> tuple[gr.Image, gr.Checkbox, gr.Gallery]:
    image = gr.Image(
        type="filepath",
        image_mode=None,
        format="png",
        sources=["upload", "webcam", "clipboard"],
        height=220,
        label="Picture, PNG or JPEG",
        elem_classes="sharp",
        buttons=[],
    )
    # The file as it is: Gradio would decode it without the limits that `open_image` has.
    image.preprocess = lambda payload: None if payload is None else payload.path
    invert = gr.Checkbox(label="Invert light and dark")
    gr.Markdown("Or one that the model drew:")
    gallery = gr.Gallery(
        show_label=False,
        columns=8,
        format="png",
        allow_preview=False,
        interactive=False,
        object_fit="contain",
        buttons=[],
        elem_classes=["sharp", "examples"],
    )
    return image, invert, gallery


def _class_choice(answers: Answers, label: str, otherwise: str) -> gr.Dropdown:
    names = answers.trained.class_names if answers.model.num_classes else ()
    choices = [(otherwise, ANY), *((name, index) for index, name in enumerate(names))]
    return gr.Dropdown(choices, value=ANY, label=label, visible=bool(names))


def _temperature() -> gr.Slider:
    info = "below 1: safer and smoother"
    return gr.Slider(0.1, 1.5, value=1, step=0.05, label="Temperature", info=info)


def _seed() -> tuple[gr.Number, gr.Checkbox]:
    seed = gr.Number(label="Seed", value=0, precision=0, minimum=0)
    return seed, gr.Checkbox(label="Another seed each time", value=True)


def _posterior(answers: Answers, label: str) -> gr.Label:
    visible = answers.model.num_classes > 0
    return gr.Label(label=label, num_top_classes=MOST_CLASSES, min_width=220, visible=visible)


def _label(chosen: int) -> int | None:
    return None if chosen == ANY else chosen


def _bars(probabilities: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    return dict(zip(names, map(float, probabilities), strict=True))


def _grey_as_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def _as_seen(answers: Answers, picture: Picture) -> str:
    pixels = to_pixels(picture.levels[None], answers.model.num_levels)
    return pictures_html(pixels, [f"as the model sees it: {picture.story}"])


def _growing(answers: Answers, drawing: Drawing) -> str:
    names, height = answers.trained.class_names, drawing.pixels.shape[1]
    if drawing.labels is None:
        captions = [""] * len(drawing.pixels)
    else:
        captions = [names[label] for label in drawing.labels]
    words = f"Seed {drawing.seed}, {drawing.rows} of {height} rows"
    return f"<p>{words}</p>{pictures_html(drawing.pixels, captions, drawing.rows)}"


def _evidence(answers: Answers, picture: Picture, belief: np.ndarray, against: int) -> str:
    """The map for the most probable class; against it, for the next one."""
    if len(belief) < 2:
        return ""
    first, second = np.argsort(-belief)[:2].tolist()
    against = second if against == ANY else against
    label = first if against != first else second
    names = [answers.trained.class_names[index] for index in (label, against)]
    evidence = answers.evidence(picture, label, against)
    pixels = to_pixels(picture.levels, answers.model.num_levels)
    png = evidence_png(pixels, evidence, *names)
    return plot_html(png, f"{evidence.sum():+.1f} nats for {names[0]}, against {names[1]}")


def _sizes(answers: Answers, result: Compression) -> str:
    dimensions = result.levels.size
    rows = [
        f"| {name} | {size:,.0f} | {8 * size / dimensions:.3f} |" for name, size in result.sizes
    ]
    words = ["| | bytes | bits/dim |", "|---|--:|--:|", *rows, ""]
    if answers.model.num_classes:
        name = html.escape(answers.trained.class_names[result.label])
        words.append(f"Coded as a picture of {name}, the class that makes it shortest.")
    words.append(
        "The file's names and checksums, some hundred bytes, serve any number of pictures."
    )
    return "\n".join(words)


def _with_sentences(*blank) -> Callable:
    """Of what goes wrong by its input, a listener tells in one sentence, and shows `blank`."""
    empty = blank[0] if len(blank) == 1 else blank

    def decorate(listener: Callable) -> Callable:
        @functools.wraps(listener)
        def answer(*given) -> Iterator:
            try:
                yield from listener(*given)
            except Exception as error:
                if is_out_of_memory(error):
                    error = "That takes more memory than there is."
                elif not isinstance(error, UserError):
                    raise
                gr.Warning(html.escape(str(error)))
                yield empty

        return answer

    return decorate
