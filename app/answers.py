"""Computations and figures of the page, without Gradio."""

import secrets
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import softmax

from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.data.images import check_channels, opened
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.evaluate.figures import maps_figure, new_figure
from keras_pixelcnnpp.utils.errors import UserError

NUM_IMAGES = 16  # per click on "Sample"
NUM_COMPLETIONS = 5
ANY = -1  # stands for any label or a random seed


class Samples(NamedTuple):
    """Sampled images, uint8 `(N, H, W, C)`, with their labels and seed.

    `labels` is int `(N,)`, or `None` for an unconditional model. For completions, `probabilities`
    has p(y | known pixels) by class.
    """

    images: np.ndarray
    labels: np.ndarray | None
    seed: int
    probabilities: dict[str, float] | None = None


class Classification(NamedTuple):
    """The class probabilities p(y | x) of an image by class, and two figures.

    `evidence` is `None` for a model of one class.
    """

    probabilities: dict[str, float]
    evidence: Figure | None
    by_rows: Figure


class Answers:
    """Answers the requests of the page with a trained model of gray or RGB images."""

    def __init__(self, trained: TrainedModel):
        if trained.has_codes or trained.model.num_levels > 256:
            raise UserError(
                "The page shows images of up to 256 levels. "
                f"Received: {trained.source}, a model of {trained.model.num_levels} "
                f"{'codes' if trained.has_codes else 'levels'}"
            )
        check_channels(trained.model.image_shape)
        if trained.model.conditions.needs_values:
            raise UserError(
                "The page asks for images and classes only. Expected a model of labels or of no "
                f"condition. Received: a model of {trained.model.conditions.description}"
            )
        self.trained = trained
        self.model = trained.model

    def read(self, path: str | None, invert: bool = False) -> np.ndarray:
        """Reads an image file, uint8 `(H, W, C)`; see `TrainedModel.read`."""
        if path is None:
            raise UserError("Choose an image first.")
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UserError("The image no longer exists. Choose it again.") from error
        pixels = self.trained.read(content)
        return 255 - pixels if invert else pixels

    def known_pixels(self, layer: bytes | None) -> np.ndarray:
        """Returns which pixels are not painted over, bool `(H, W)`.

        `layer` is a PNG or WebP file, transparent where nothing is painted, or `None`. A pixel is
        unknown if more than half of it is painted.
        """
        height, width, _ = self.model.image_shape
        if layer is None:
            return np.ones((height, width), bool)
        with opened(layer, ("PNG", "WEBP")) as image:
            alpha = image.convert("RGBA").getchannel("A")
        return np.asarray(alpha.resize((width, height), Image.Resampling.BOX)) < 128

    def sample(
        self,
        label: int = ANY,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
    ) -> Samples:
        """Samples images of a class, or of random classes, with `AutoregressiveModel.sample`."""
        labels, seed = self._labels_and_seed(label, seed, NUM_IMAGES)
        given = NUM_IMAGES if labels is None else labels
        images = self.model.sample(given, seed, temperature, guidance, verbose=0)
        return Samples(images, labels, seed)

    def complete(
        self,
        image: np.ndarray,
        known: np.ndarray,
        label: int = ANY,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
    ) -> Samples:
        """Samples the unknown pixels of an image, uint8 `(H, W, C)`, several times.

        `known` is bool `(H, W)`. With the label `ANY`, the class of each completion is sampled from
        p(y | known pixels) of the model itself, as in `AutoregressiveModel.complete`. Raises a
        `UserError` if all pixels are known.
        """
        if known.all():
            raise UserError("Paint over part of the image first, at least most of one pixel.")
        model, probabilities, by_name = self.model, None, None
        if model.num_classes:
            scores = model.class_log_likelihoods(image[None], observed=known)[0]
            # Bayes' rule of the model itself, as `complete` chooses classes.
            probabilities = softmax(scores.astype("float64"))
            by_name = named(model.class_names, probabilities)
        labels, seed = self._labels_and_seed(label, seed, NUM_COMPLETIONS, probabilities)
        images = np.repeat(image[None], NUM_COMPLETIONS, axis=0)
        images = model.complete(images, known, labels, seed, temperature, guidance, verbose=0)
        return Samples(images, labels, seed, by_name)

    def classify(self, image: np.ndarray) -> Classification:
        """Classifies an image, uint8 `(H, W, C)`, and maps the evidence.

        The evidence is for the most probable class, against the second one.
        """
        model, names = self.model, self.model.class_names
        rows = range(model.image_shape[0] + 1)
        scores = model.class_log_likelihoods(image[None], observed=rows)
        probabilities = model.posterior.probabilities(scores)[0]
        evidence = None
        if model.num_classes > 1:
            label, against = np.argsort(-probabilities[-1])[:2]
            nats = model.evidence_map(image[None], [label], [against])[0]
            title = f"{nats.sum():+.1f} nats for {names[label]} (blue)"
            title += f"\nagainst {names[against]} (red)"
            evidence = maps_figure(image[None], nats[None], [title], signed=True)
        by_class = named(names, probabilities[-1])
        return Classification(by_class, evidence, posterior_figure(probabilities, names))

    def score(self, image: np.ndarray) -> tuple[float, Figure]:
        """Bits/dim of p(x) of an image, uint8 `(H, W, C)`, and where the image is surprising."""
        found = self.model.pixel_statistics(image[None])
        bits = float(bits_per_dim(found.log_prob.sum(dtype="float64"), image.shape))
        title = f"standardized surprisal {found.standardized_surprisal[0]:+.1f};\n"
        title += "bright pixels are more surprising than noise"
        return bits, maps_figure(image[None], found.surprise_map(), [title])

    def _labels_and_seed(
        self, label: int, seed: int | None, count: int, probabilities: np.ndarray | None = None
    ) -> tuple[np.ndarray | None, int]:
        seed = secrets.randbelow(2**31) if seed in (None, ANY) else seed
        if not self.model.num_classes:
            return None, seed
        if label != ANY:
            return np.full(count, label), seed
        generator = np.random.default_rng(seed)
        return generator.choice(self.model.num_classes, count, p=probabilities), seed


def named(class_names: tuple[str, ...], probabilities: np.ndarray) -> dict[str, float]:
    """Returns class probabilities `(num_classes,)` by class name."""
    return dict(zip(class_names, map(float, probabilities), strict=True))


def posterior_figure(probabilities: np.ndarray, class_names: tuple[str, ...]) -> Figure:
    """Plots p(y | first rows), float `(height + 1, num_classes)`, of the most probable classes."""
    figure = new_figure(5, 3.2)
    axes = figure.subplots()
    likeliest = np.argsort(-probabilities.mean(axis=0))[:5]
    for label in likeliest:
        axes.plot(probabilities[:, label], linewidth=1.8)
    axes.set(xlim=(0, len(probabilities) - 1), ylim=(-0.02, 1.02))
    axes.set_xlabel("known rows, from the top")
    axes.set_ylabel("p(class | these rows)")
    axes.grid(alpha=0.3)
    names = [class_names[label] for label in likeliest]
    # Given as lists, because matplotlib leaves out labels that begin with _.
    for text in axes.legend(axes.get_lines(), names, fontsize=9).get_texts():
        text.set_parse_math(False)
    return figure
