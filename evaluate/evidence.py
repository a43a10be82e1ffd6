"""`evaluate evidence`: where in the pictures PixelCNN++'s decisions come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from matplotlib.image import AxesImage

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.dataset import LabelledImages
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.classification import load_classifier
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure, show_pixels
from keras_pixelcnnpp.files import write_bytes, write_json
from keras_pixelcnnpp.run import RunFolder

# Of one pixel in a hundred the colour may be cut off, or a single one would pale all others.
BRIGHTEST = 99


def explain(
    folder: RunFolder,
    *,
    data: str | None,
    split: str,
    per_class: int,
    batch_size: int,
    options: dict,
    verbose: int,
) -> None:
    """Gathers the evidence of some pictures, draws and writes it."""
    config = folder.read_config()
    folder.require_model("pixelcnnpp")
    pictures = folder.load_data(data).split(split).labelled()
    if not len(pictures):
        raise UserError(f"The split {split} has no labels: no true class to find evidence for.")
    class_names = config["data"]["class_names"]
    classifier = load_classifier(folder, batch_size, verbose)
    print(f"{classifier.model.title} scores {len(pictures)} pictures under every class")
    found = Evidence.gather(classifier, pictures, per_class)
    png = evidence_png(found, class_names, classifier.num_levels)
    write_bytes(folder.reports / "evidence.png", png)
    report = found.report(class_names)
    facts = {"options": options, "split": split, "temperature": classifier.temperature}
    write_json(folder.reports / "evidence.json", {**facts, **report})
    mistakes = int(np.sum(found.predicted != found.pictures.labels))
    half = np.mean([picture["half_within"] for picture in report["pictures"]])
    print(
        f"{len(found)} pictures, {mistakes} of them mistakes. On average, half of the evidence "
        f"lies within {half:.0%} of a picture."
    )
    print(f"Wrote evidence.png and evidence.json to {folder.reports}")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of labelled pictures the most probable class, int `[count]`, and the most probable other one.

    `maps` float `[count, height, width]`, `log p(x_i | x_<i, true) - log p(x_i | x_<i, against)`,
    nats.
    """

    pictures: LabelledImages
    predicted: np.ndarray
    against: np.ndarray
    maps: np.ndarray

    @classmethod
    def gather(
        cls, classifier: PixelCNNClassifier, pictures: LabelledImages, per_class: int
    ) -> Self:
        """Classifies labelled pictures and maps the evidence in those that `choose` takes."""
        probabilities = classifier.predict_proba(pictures.images)
        chosen = choose(pictures.labels, probabilities.argmax(axis=1), per_class)
        pictures, probabilities = pictures.take(chosen), probabilities[chosen]
        predicted = probabilities.argmax(axis=1)
        probabilities[np.arange(len(chosen)), pictures.labels] = -1
        against = probabilities.argmax(axis=1)
        maps = classifier.model.evidence_map(
            pictures.images,
            pictures.labels,
            against,
            batch_size=classifier.batch_size,
            verbose=classifier.verbose,
        )
        return cls(pictures, predicted, against, maps)

    def __len__(self) -> int:
        return len(self.pictures)

    def report(self, class_names: Sequence[str]) -> dict:
        """The numbers of `evidence.json`; `nats` is the sum of a picture's map."""
        half = half_within(self.maps)
        totals = self.maps.sum(axis=(1, 2), dtype=np.float64)
        rows = [
            {
                "path": self.pictures.paths[index],
                "label": class_names[self.pictures.labels[index]],
                "predicted": class_names[self.predicted[index]],
                "against": class_names[self.against[index]],
                "nats": float(totals[index]),
                "half_within": float(half[index]),
            }
            for index in range(len(self))
        ]
        return {"count": len(self), "pictures": rows}


def choose(labels: np.ndarray, predicted: np.ndarray, per_class: int) -> np.ndarray:
    """Rows of `per_class` pictures of each class, right ones first; up to half are mistakes."""
    rows = []
    for label in np.unique(labels):
        right = np.flatnonzero((labels == label) & (predicted == label))
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        mistakes = min(len(wrong), max(per_class // 2, per_class - len(right)))
        rows.extend([*right[: per_class - mistakes], *wrong[:mistakes]])
    return np.array(rows, dtype=int)


def half_within(maps: np.ndarray) -> np.ndarray:
    """The smallest share of the pixels that together hold half of each map's absolute values.

    A half if all pixels count alike, as in a map of zeros; little if the decision comes from a few.
    """
    weights = np.sort(np.abs(maps.reshape(len(maps), -1).astype(np.float64)), axis=1)[:, ::-1]
    weights[weights.sum(axis=1) == 0] = 1
    held = np.cumsum(weights, axis=1)
    # A little less than half: rounding must not cost a pixel.
    return (np.sum(held < held[:, -1:] * (0.5 - 1e-9), axis=1) + 1) / weights.shape[1]


def evidence_png(evidence: Evidence, class_names: Sequence[str], num_levels: int) -> bytes:
    """Draws each picture beside its evidence map, a row for each class: a PNG file's content.

    Blue speaks for the true class, red against it; the scale is the same for all maps.
    """
    labels = evidence.pictures.labels
    classes, counts = np.unique(labels, return_counts=True)
    figure = new_figure(2.4 * counts.max() + 0.8, 1.55 * len(classes) + 0.4)
    grid = figure.subplots(len(classes), 2 * counts.max(), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = colour_limit(evidence.maps)
    for row, label in zip(grid, classes, strict=True):
        for place, index in enumerate(np.flatnonzero(labels == label)):
            drawn = _draw(row[2 * place : 2 * place + 2], evidence, index, class_names, num_levels)
            drawn.set_clim(-limit, limit)
    bar = figure.colorbar(
        drawn, ax=grid, extend="both", shrink=min(1, 3 / len(classes)), aspect=25, pad=0.01
    )
    bar.set_label("nats for the true class (blue), against it (red)")
    return figure_png(figure)


def colour_limit(maps: np.ndarray) -> float:
    """The nats, for or against a class, that get the deepest colour."""
    return max(float(np.percentile(np.abs(maps), BRIGHTEST)), 1e-9)


def _draw(pair, evidence: Evidence, index: int, class_names, num_levels: int) -> AxesImage:
    label, predicted = evidence.pictures.labels[index], evidence.predicted[index]
    show_pixels(pair[0], to_pixels(evidence.pictures.images[index], num_levels))
    pair[0].set_title(
        f"true {class_names[label]}\npredicted {class_names[predicted]}",
        fontsize=7,
        color="black" if label == predicted else "tab:red",
        parse_math=False,
    )
    drawn = pair[1].imshow(evidence.maps[index], cmap="RdBu")
    against = class_names[evidence.against[index]]
    pair[1].set_title(
        f"against {against}\n{evidence.maps[index].sum():+.1f} nats", fontsize=7, parse_math=False
    )
    return drawn
