"""What the page answers: one model for all who ask, one question at a time. Without Gradio."""

import secrets
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from keras_pixelcnnpp.checks import checked_rows
from keras_pixelcnnpp.classifiers import BaselineClassifier
from keras_pixelcnnpp.codec.coder import require_constriction
from keras_pixelcnnpp.codec.container import compress_pictures, decompress_pictures
from keras_pixelcnnpp.data.images import (
    check_channels,
    fit_image,
    open_image,
    to_levels,
    to_pixels,
)
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import UserError, argument_errors
from keras_pixelcnnpp.evaluate.classification import train_baseline_command
from keras_pixelcnnpp.evaluate.ood import png_bits
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.savedmodel.compression import promised_bits, sizes
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

# In one drawing. The model always draws so many, since TensorFlow would compile for each number.
MOST_PICTURES = 16
# What a picture is compared with, from which on.
NUM_DRAWN = 6 * MOST_PICTURES
QUIET = 0.5  # seconds without a question, before the model goes on drawing for itself


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the model sees it: uint8 levels `[height, width, channels]`, and its story."""

    levels: np.ndarray
    story: str


@dataclass(frozen=True, eq=False)
class Drawing:
    """Pictures that are being drawn, uint8 pixels `[count, height, width, channels]`, 0 to 255.

    `rows` of them are done; `labels` int `[count]`, of an unconditional model `None`.
    """

    pixels: np.ndarray
    rows: int
    labels: np.ndarray | None
    seed: int


@dataclass(frozen=True, eq=False)
class Judgement:
    """What there is to say of pictures.

    `belief` is p(y | first rows), float `[count, height + 1, num_classes]`, `None` without classes;
    `bits`, of p(x), and `corrected`, minus those of the PNG file, are bits/dim, float `[count]`.
    """

    belief: np.ndarray | None
    bits: np.ndarray
    corrected: np.ndarray


@dataclass(frozen=True, eq=False)
class Compression:
    """What a picture came to: names and bytes, the class it was coded as, what came back."""

    sizes: list[tuple[str, float]]
    label: int
    levels: np.ndarray


class Answers:
    """A trained model, the CNN beside it, and pictures that the model draws to compare with.

    Every method may be called from any thread. Within `with`, the model draws these pictures in a
    thread of its own; other questions are answered between two rows.

    Args:
        trained: The model.
        baseline: The CNN of the same run, or `None`.
        no_baseline: Without one, Markdown that says how to get it.
    """

    def __init__(
        self, trained: TrainedModel, baseline: BaselineCNN | None = None, no_baseline: str = ""
    ):
        check_channels(np.zeros((1, *trained.image_shape)))
        self.trained = trained
        self.model = trained.model
        self.baseline = None if baseline is None else BaselineClassifier(baseline)
        self.no_baseline = no_baseline
        self._lock = threading.Lock()
        self._last_asked = -QUIET
        self._examples = np.zeros((0, *trained.image_shape), "uint8")
        self._judged: list[Judgement] = []  # grows batch by batch
        self._has_examples, self._is_closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._prepare, daemon=True)

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """The model of a preset, a run or a file: see `TrainedModel.find`."""
        trained, run = TrainedModel.find(source), RunFolder(source)
        if not trained.model.num_classes:
            return cls(
                trained, None, "This model knows no classes, and a CNN tells nothing but classes."
            )
        if run.baseline_keras.is_file():
            return cls(trained, load_trained_model(run.baseline_keras, BaselineCNN))
        if run.config_json.is_file() and run.model_keras.is_file():
            how = f"This run has no CNN yet. Train it:\n\n    {train_baseline_command(run)}"
        else:
            how = (
                "A CNN belongs to a run, and this model comes without one. Train both on the same "
                "pictures, and look at them together:\n\n"
                "    pixelcnnpp train pixelcnnpp --data … --run runs/mine\n"
                "    pixelcnnpp train baseline --data … --run runs/mine\n"
                "    pixelcnnpp app --run runs/mine"
            )
        return cls(trained, None, how)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._is_closed.set()
        # TensorFlow must not be busy when Python ends.
        self._thread.join()

    def _prepare(self) -> None:
        try:
            for seed in range(NUM_DRAWN // MOST_PICTURES):
                steps = self._rows(self._labels(None, seed), seed=seed)
                while (step := next(steps, None)) is not None and self._may_go_on():
                    _, levels = step
                if not self._may_go_on():
                    return
                if seed == 0:
                    self._examples = levels
                    self._has_examples.set()
                self._judged.append(self.judge(levels))
        except Exception as error:
            reason = " ".join(str(error).split())
            print(f"pixelcnnpp: no pictures to compare with: {reason}", file=sys.stderr)
        finally:
            self._has_examples.set()

    def _may_go_on(self) -> bool:
        """Waits until nobody has asked for a while; false at the end."""
        while not self._is_closed.is_set() and time.monotonic() < self._last_asked + QUIET:
            time.sleep(QUIET / 10)
        return not self._is_closed.is_set()

    def examples(self) -> np.ndarray:
        """Pictures that the model drew when it was loaded: uint8 pixels, 0 to 255."""
        self._has_examples.wait()
        return to_pixels(self._examples, self.model.num_levels)

    def drawn(self) -> Judgement | None:
        """What is said of the pictures that the model has drawn so far; `None` if of none."""
        judged = tuple(self._judged)
        if not judged:
            return None
        numbers = ([getattr(each, name) for each in judged] for name in ("bits", "corrected"))
        return Judgement(None, *map(np.concatenate, numbers))

    def read(self, path: str | None, invert: bool = False) -> Picture:
        """A PNG or JPEG file, cropped or squeezed as in training and resized, as levels.

        Raises:
            UserError: If there is none, or `open_image` refuses it.
        """
        if path is None:
            raise UserError("Choose a picture first.")
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UserError("The picture is no longer there: choose it again.") from error
        height, width, channels = self.model.image_shape
        image = open_image(content, channels)
        pixels = fit_image(image, (height, width), self.trained.resize)
        pixels = 255 - pixels if invert else pixels
        story = [f"{height}×{width} pixels", "grey" if channels == 1 else "RGB"]
        if self.model.num_levels < 256:
            story.append(f"{self.model.num_levels} levels")
        if image.size != (width, height):
            story.append(f"fitted from {image.height}×{image.width}")
        if invert:
            story.append("inverted")
        return Picture(to_levels(pixels, self.model.num_levels), ", ".join(story))

    def draw(
        self,
        label: int | None,
        count: int,
        *,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
    ) -> Iterator[Drawing]:
        """Draws pictures of a class, or of any (`None`): see `AutoregressiveModel.draw_rows`.

        Raises:
            UserError: If an argument is out of range.
        """
        seed = _seed(seed)
        labels = self._labels(label, seed)
        yield from self._drawing(count, labels, seed, temperature=temperature, guidance=guidance)

    def complete(
        self,
        picture: Picture,
        known_rows: int,
        label: int | None,
        count: int,
        *,
        seed: int | None = None,
        temperature: float = 1.0,
    ) -> Iterator[Drawing]:
        """Draws the rest of a picture several times.

        With the label `None`, the class of each is drawn first, from p(y | known rows).

        Raises:
            UserError: If an argument is out of range.
        """
        seed = _seed(seed)
        with argument_errors():
            # A client of the page's interface may send 8.0.
            is_whole = isinstance(known_rows, float) and known_rows.is_integer()
            whole = int(known_rows) if is_whole else known_rows
            known_rows = int(checked_rows(whole, self.model.image_shape[0]))
        belief = None
        if label is None and self.model.num_classes:
            belief = self.judge(picture.levels[None]).belief[0, known_rows]
        labels = self._labels(label, seed, belief)
        images = np.repeat(picture.levels[None], MOST_PICTURES, axis=0)
        arguments = {"images": images, "known_rows": known_rows, "temperature": temperature}
        for drawing in self._drawing(count, labels, seed, **arguments):
            if drawing.rows >= known_rows:
                yield drawing

    def _labels(self, label, seed, belief=None):
        if not self.model.num_classes:
            return None
        if label is not None:
            return np.full(MOST_PICTURES, label)
        rng = np.random.default_rng(seed)
        return rng.choice(self.model.num_classes, MOST_PICTURES, p=belief)

    def _drawing(self, count, labels, seed, **arguments):
        if isinstance(count, bool) or count not in range(1, MOST_PICTURES + 1):
            raise UserError(f"Expected from 1 to {MOST_PICTURES} pictures. Received: {count!r:.40}")
        count = int(count)
        shown = None if labels is None else labels[:count]
        for rows, levels in self._rows(labels, seed=seed, **arguments):
            self._last_asked = time.monotonic()
            yield Drawing(to_pixels(levels[:count], self.model.num_levels), rows, shown, seed)

    def _rows(self, labels, **arguments):
        """`draw_rows`, which lets others ask between two steps."""
        with argument_errors():
            rows = self.model.draw_rows(MOST_PICTURES if labels is None else labels, **arguments)
        while True:
            with self._lock:
                step = next(rows, None)
            if step is None:
                return
            yield step

    def judge(self, levels: np.ndarray) -> Judgement:
        """The class of pictures, row by row, and how many bits/dim they cost.

        Args:
            levels: uint8 `[count, height, width, channels]`.
        """
        model, belief = self.model, None
        with self._lock:
            if model.num_classes:
                rows = range(model.image_shape[0] + 1)
                scores = model.class_log_likelihoods(levels, known_rows=rows)
                belief = model.posterior.probabilities(scores).astype("float64")
                belief /= belief.sum(axis=-1, keepdims=True)
                log_prob = log_marginal(scores[:, -1])
            else:
                log_prob = model.log_prob(levels)
        bits = bits_per_dim(log_prob, model.image_shape)
        corrected = bits - png_bits(levels, model.num_levels) / model.dimensions
        return Judgement(belief, bits, corrected)

    def evidence(self, picture: Picture, label: int, against: int) -> np.ndarray:
        """`AutoregressiveModel.evidence_map` of a picture: `[height, width]`, nats."""
        with self._lock, argument_errors():
            return self.model.evidence_map(picture.levels[None], [label], [against])[0]

    def compress(self, picture: Picture) -> Compression:
        """Compresses a picture without loss, and decompresses it.

        Raises:
            UserError: Without constriction.
        """
        require_constriction()
        levels, model = picture.levels[None], self.model
        with self._lock:
            compressed = compress_pictures(model, levels, None, None, 1, 0)
            promised = promised_bits(model, levels, compressed.labels)
            back, _, _ = decompress_pictures(model, compressed.data, 0)
        return Compression(
            sizes(compressed, promised, to_pixels(levels, model.num_levels)),
            int(compressed.labels[0]),
            back[0],
        )

    def ask_cnn(self, picture: Picture) -> np.ndarray:
        """What the baseline CNN believes: float `[num_classes]`."""
        if self.baseline is None:
            raise UserError(" ".join(self.no_baseline.split()))
        with self._lock:
            return self.baseline.predict_proba(picture.levels[None])[0]


def _seed(seed: int | None) -> int:
    return secrets.randbelow(2**31) if seed is None else seed
