"""`pixelcnnpp evaluate evidence`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.dataset import LabelledImages
from keras_pixelcnnpp.data.images import to_pixels
from keras_pixelcnnpp.errors import UserError, argument_errors
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.files import atomic_path, write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.run import RunFolder


def _print_summary(found: "Evidence", report: dict) -> None:

    mistakes = int(np.sum(found.predicted != found.pictures.labels))
    half = np.mean([picture["half_within"] for picture in report["pictures"]])
    print(
        f"{len(found)} pictures, {mistakes} of them mistakes. On average, half of the evidence "
        f"lies within {half:.0%} of a picture."
    )


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence maps of some pictures, each for its true class.

    Args:
        pictures: The pictures, all of them labelled.
        predicted: int `[count]`, the most probable class.
        against: int `[count]`, the most probable class other than the true one.
        maps: float `[count, height, width]`, `log p(x_i | x_<i, true) - log p(x_i | x_<i,
            against)`, nats.
    """

    pictures: LabelledImages
    predicted: np.ndarray
    against: np.ndarray
    maps: np.ndarray

    @classmethod
    def gather(
        cls, classifier: PixelCNNClassifier, pictures: LabelledImages, per_class: int
    ) -> "Evidence":
        """Classifies pictures and maps the evidence in some of each class.

        Args:
            classifier: Over a trained model.
            pictures: Those without label are left out.
            per_class: How many of each class: mistakes make up to half of them, the others are the
                first ones of the split that are classified correctly.

        Returns:
            The evidence, in the order of the classes; within one, correct pictures first.
        """
        pictures = pictures.labelled()
        probabilities = classifier.predict_proba(pictures.images)
        chosen = choose(pictures.labels, probabilities.argmax(axis=1), per_class)
        pictures, probabilities = pictures.take(chosen), probabilities[chosen]
        predicted = probabilities.argmax(axis=1)
        others = probabilities.copy()
        others[np.arange(len(others)), pictures.labels] = -1
        against = others.argmax(axis=1)
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
        """The numbers of `evidence.json`: one entry for each picture, in order.

        Args:
            class_names: The name of each class.

        Returns:
            `{"count", "pictures": [{"path", "label", "predicted", "against", "nats",
            "half_within"}]}`, classes by name. `nats` is the sum of the map; `half_within` the
            share of the pixels that hold half of its absolute values.
        """
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
    """Rows of up to `per_class` pictures of each class; up to half of those are mistakes."""
    rows = []
    for label in np.unique(labels):
        right = np.flatnonzero((labels == label) & (predicted == label))
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        mistakes = min(len(wrong), max(per_class // 2, per_class - len(right)))
        rows.extend([*right[: per_class - mistakes], *wrong[:mistakes]])
    return np.array(rows, dtype=int)


def half_within(maps: np.ndarray) -> np.ndarray:
    """The smallest share of the pixels that together hold half of a map's absolute values.

    Args:
        maps: float `[count, height, width]`.

    Returns:
        float64 `[count]`, in (0, 1]; a half if all pixels count alike, little if the decision comes
        from a few. A map of zeros counts as alike.
    """
    weights = np.sort(np.abs(maps.reshape(len(maps), -1).astype(np.float64)), axis=1)[:, ::-1]
    weights[weights.sum(axis=1) == 0] = 1
    held = np.cumsum(weights, axis=1)
    # A little less than half: rounding must not cost a pixel.
    return (np.sum(held < held[:, -1:] * (0.5 - 1e-9), axis=1) + 1) / weights.shape[1]


# Of one pixel in a hundred the colour may be cut off, or a single one would pale all others.
BRIGHTEST = 99


def evidence_png(evidence: Evidence, class_names: Sequence[str], num_levels: int) -> bytes:
    """Draws each picture beside its evidence map, a row for each class.

    Blue speaks for the true class, red against it; the scale is the same for all maps.

    Args:
        evidence: At least one picture.
        class_names: The name of each class.
        num_levels: The number of levels of the pictures.

    Returns:
        The content of a PNG file.

    Raises:
        UserError: if the pictures have neither 1 nor 3 channels.
    """
    channels = evidence.pictures.images.shape[-1]
    if channels not in (1, 3):
        raise UserError(f"Only pictures of 1 or 3 channels can be drawn. These have {channels}.")
    labels = evidence.pictures.labels
    classes, counts = np.unique(labels, return_counts=True)
    figure = new_figure(2.4 * counts.max() + 0.8, 1.55 * len(classes) + 0.4)
    grid = figure.subplots(len(classes), 2 * counts.max(), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = max(float(np.percentile(np.abs(evidence.maps), BRIGHTEST)), 1e-9)
    for row, label in zip(grid, classes, strict=True):
        for place, index in enumerate(np.flatnonzero(labels == label)):
            drawn = _draw(row[2 * place : 2 * place + 2], evidence, index, class_names, num_levels)
            drawn.set_clim(-limit, limit)
    bar = figure.colorbar(
        drawn, ax=grid, extend="both", shrink=min(1, 3 / len(classes)), aspect=25, pad=0.01
    )
    bar.set_label("nats for the true class (blue), against it (red)")
    return figure_png(figure)


def _draw(pair, evidence, index, class_names, num_levels):
    label, predicted = evidence.pictures.labels[index], evidence.predicted[index]
    pixels = to_pixels(evidence.pictures.images[index], num_levels)
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if pixels.shape[-1] == 1 else {}
    pair[0].imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, **grey)
    pair[0].set_title(
        f"true {class_names[label]}\npredicted {class_names[predicted]}",
        fontsize=7,
        color="black" if label == predicted else "tab:red",
    )
    drawn = pair[1].imshow(evidence.maps[index], cmap="RdBu")
    against = class_names[evidence.against[index]]
    pair[1].set_title(f"against {against}\n{evidence.maps[index].sum():+.1f} nats", fontsize=7)
    return drawn


def explain(
    folder: RunFolder,
    *,
    data: str | None,
    split: str,
    per_class: int,
    batch_size: int,
    options: dict,
) -> None:
    """Gathers the evidence of some pictures, draws and writes it."""
    config = folder.read_config()
    path = folder.require_model("pixelcnnpp")
    pictures = folder.load_data(data).split(split)
    if not (pictures.labels >= 0).any():
        raise UserError(f"The split {split} has no labels: no true class to find evidence for.")
    class_names = config["data"]["class_names"]
    with argument_errors():
        classifier = PixelCNNClassifier(
            load_trained_model(path, PixelCNNPlusPlus),
            batch_size,
            int(sys.stdout.isatty()),
        )
    print(f"PixelCNN++ scores {len(pictures.labelled())} pictures under every class")
    found = Evidence.gather(classifier, pictures, per_class)
    png = evidence_png(found, class_names, classifier.num_levels)
    with atomic_path(folder.reports / "evidence.png") as temporary:
        temporary.write_bytes(png)
    report = {
        "options": options,
        "split": split,
        "temperature": classifier.temperature,
        **found.report(class_names),
    }
    write_json(folder.reports / "evidence.json", report)
    _print_summary(found, report)
    print(f"Wrote evidence.png and evidence.json to {folder.reports}")
