"""What the page shows that Gradio has no component for: small pictures, sharp, and plots."""

import base64
import html
from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.app.answers import Judgement
from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.evaluate.evidence import colour_limit
from keras_pixelcnnpp.evaluate.figures import figure_png, name_lines, new_figure, show_pixels

MOST_LINES = 5  # classes in the plot of the belief

CSS = """
.html-container:has(.pictures, img.plot) { padding: 0; }
.pictures { display: flex; flex-wrap: wrap; gap: 10px; }
.pictures figure { margin: 0; width: 94px; }
.pictures div { border: 1px dashed var(--border-color-primary); }
.pictures img { display: block; width: 100%; margin: 0; image-rendering: pixelated; }
.pictures figcaption { font-size: 12px; line-height: 1.3; overflow-wrap: anywhere; }
img.plot { width: 100%; max-width: 520px; margin: 0; background: white; border-radius: 6px; }
th, td { overflow-wrap: normal !important; word-break: normal !important; }
.sharp img { image-rendering: pixelated; width: 100%; height: 100%; object-fit: contain; }
.examples, .examples .grid-wrap { height: auto !important; min-height: 0 !important; }
.examples .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(48px, 1fr)) !important;
  grid-auto-rows: auto !important; gap: 4px;
}
.examples .gallery-item, .examples button { width: 100%; height: auto; aspect-ratio: 1; }
@media (max-width: 500px) {
  .tab-container button { padding: 0 4px !important; font-size: 13px !important; }
}
"""


def pictures_html(pixels: np.ndarray, captions: Sequence[str], rows: int | None = None) -> str:
    """Pictures beside each other, uint8 `[count, height, width, channels]`, 0 to 255.

    Of pictures that are being drawn, `rows` are done; below them the frame is empty.
    """
    _, height, width, _ = pixels.shape
    figures = [
        f'<figure><div style="aspect-ratio: {width}/{height}">'
        f"{_tag(png_bytes(picture[:rows]), caption) if rows != 0 else ''}</div>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for picture, caption in zip(pixels, captions, strict=True)
    ]
    return f'<div class="pictures">{"".join(figures)}</div>'


def plot_html(png: bytes, words: str) -> str:
    """A plot; `words` are for those who can't see it."""
    return _tag(png, words, ' class="plot"')


def _tag(png: bytes, words: str, attributes: str = "") -> str:
    data = base64.b64encode(png).decode()
    return f'<img{attributes} src="data:image/png;base64,{data}" alt="{html.escape(words)}">'


def belief_png(belief: np.ndarray, class_names: Sequence[str]) -> bytes:
    """Draws p(y | first rows) over the number of rows, float `[height + 1, num_classes]`."""
    figure = new_figure(5, 3.2)
    axes = figure.subplots()
    likeliest = np.argsort(-belief.mean(axis=0))[:MOST_LINES]
    for label in likeliest:
        axes.plot(belief[:, label], linewidth=1.8)
    axes.set(xlim=(0, len(belief) - 1), ylim=(-0.02, 1.02))
    axes.set_xlabel("rows known, from above")
    axes.set_ylabel("p(class | these rows)")
    axes.grid(alpha=0.3)
    name_lines(axes, axes.get_lines(), [class_names[label] for label in likeliest], fontsize=9)
    return figure_png(figure, dpi=160)


def evidence_png(pixels: np.ndarray, evidence: np.ndarray, label: str, against: str) -> bytes:
    """Draws a picture beside its evidence map, `[height, width]`, nats for a class."""
    figure = new_figure(5, 2.4)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_axis_off()
    show_pixels(left, pixels)
    limit = colour_limit(evidence)
    drawn = right.imshow(evidence, "RdBu", vmin=-limit, vmax=limit)
    bar = figure.colorbar(drawn, ax=(left, right), extend="both", shrink=0.8, aspect=18)
    bar.set_label("nats", fontsize=9)
    title = f"{evidence.sum():+.1f} nats for {label} (blue)\nagainst {against} (red)"
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure_png(figure, dpi=160)


def belonging_text(judgement: Judgement, drawn: Judgement | None) -> str:
    """Says what a picture costs, and whether it belongs: Markdown.

    `drawn` are pictures that the model drew itself, all that there is to compare with. Those that
    belong are told best by the bits/dim without those of the PNG file (see `evaluate.ood`).
    """
    bits, corrected = float(judgement.bits[0]), float(judgement.corrected[0])
    told = f"**{bits:.3f} bits/dim** of p(x)"
    if drawn is None:
        return f"{told}. Does it belong? The model is still drawing pictures to compare it with."
    count = len(drawn.bits)
    dearer, stranger = int(np.sum(drawn.bits >= bits)), int(np.sum(drawn.corrected >= corrected))
    share = stranger / count
    verdict = "Yes, as far as one can tell" if share >= 0.05 else "Hardly" if share else "No"
    low, high = np.quantile(drawn.bits, [0.05, 0.95])
    return (
        f"{told}. Of {count} pictures that this model drew, {dearer} cost as much or more; nine in "
        f"ten cost {low:.2f} to {high:.2f}.\n\n"
        f"**Does it belong? {verdict}.** Once the bits of the PNG file, which tell how simple a "
        f"picture is, are taken off, {stranger} of the {count} are as strange or stranger. These "
        "are the model's own pictures, not those that it was trained on."
    )
