"""`evaluate evidence`: maps which pixels the classifications of PixelCNN++ rest on."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Self

import numpy as np

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.classification import load_classifier
from keras_pixelcnnpp.evaluate.figures import color_limit, figure_png, new_figure, show_pixels
from keras_pixelcnnpp.files import counted, write_bytes, write_json
from keras_pixelcnnpp.run import RunFolder


def evaluate_evidence(folder: RunFolder, options: SimpleNamespace) -> None:
    """Computes evidence maps of some images, and writes them."""
    class_names = folder.read_config()["data"]["class_names"]
    if len(class_names) == 1:
        raise UserError("Evidence compares two classes. Received: a run with a single class")
    classifier = load_classifier(folder, options.batch_size, options.verbose)
    dataset = folder.load_data(options.data, options.classes_in_order)
    options.split = dataset.split_to_measure(options.split)
    images = dataset.images(options.split, with_labels=True)
    print(f"Scoring {counted(len(images))} of the split {options.split} under every class")
    found = Evidence.gather(classifier, images, options.per_class)
    write_bytes(folder.reports / "evidence.png", evidence_png(found, class_names))
    facts = {"split": options.split, "logit_scale": classifier.model.logit_scale}
    report = {"options": options.given, **facts, **found.report(class_names)}
    write_json(folder.reports / "evidence.json", report)
    print(
        f"Wrote evidence.png and evidence.json for {counted(report['count'])} to {folder.reports}"
    )


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence maps of labeled images.

    `predicted` has the most probable class of each image, and `against` the most probable one that
    is not the true class, both int `[count]`. `maps`, float `[count, height, width]`, in nats, are
    `log p(x_i | x_<i, true) - log p(x_i | x_<i, against)`.
    """

    images: LabeledImages
    predicted: np.ndarray
    against: np.ndarray
    maps: np.ndarray

    @classmethod
    def gather(cls, classifier: PixelCNNClassifier, images: LabeledImages, per_class: int) -> Self:
        """Classifies labeled images, and maps the evidence in those that `choose` selects."""
        probabilities = classifier.predict_proba(images.images)
        chosen = choose(images.labels, probabilities.argmax(axis=1), per_class)
        images, probabilities = images.take(chosen), probabilities[chosen]
        predicted = probabilities.argmax(axis=1)
        probabilities[np.arange(len(chosen)), images.labels] = -1
        against = probabilities.argmax(axis=1)
        maps = classifier.model.evidence_map(
            images.images, images.labels, against, batch_size=classifier.batch_size
        )
        return cls(images, predicted, against, maps)

    def report(self, class_names: Sequence[str]) -> dict:
        """Returns the content of `evidence.json`; `nats` is the sum of an image's map."""
        rows = [
            {
                "path": path,
                "label": class_names[self.images.labels[index]],
                "predicted": class_names[self.predicted[index]],
                "against": class_names[self.against[index]],
                "nats": float(self.maps[index].sum(dtype=np.float64)),
            }
            for index, path in enumerate(self.images.paths)
        ]
        return {"count": len(rows), "images": rows}


def choose(labels: np.ndarray, predicted: np.ndarray, per_class: int) -> np.ndarray:
    """Chooses `per_class` images of each class, up to half of them misclassified, as indices."""
    rows = []
    for label in np.unique(labels):
        right = np.flatnonzero((labels == label) & (predicted == label))
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        mistakes = min(len(wrong), max(per_class // 2, per_class - len(right)))
        rows.extend([*right[: per_class - mistakes], *wrong[:mistakes]])
    return np.array(rows, dtype=int)


def evidence_png(evidence: Evidence, class_names: Sequence[str]) -> bytes:
    """Plots each image next to its evidence map, with one row per class, as PNG data.

    Blue pixels are evidence for the true class, red pixels against it. All maps have the same
    scale.
    """
    labels = evidence.images.labels
    rows, counts = np.unique(labels, return_counts=True)
    figure = new_figure(2.4 * counts.max() + 0.8, 1.55 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), 2 * counts.max(), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = color_limit(evidence.maps)
    words = {"fontsize": 8, "parse_math": False}
    for index, label in enumerate(labels):
        place = 2 * int(np.sum(labels[:index] == label))
        left, right = grid[np.searchsorted(rows, label), place : place + 2]
        show_pixels(left, evidence.images.images[index])
        shown = right.imshow(evidence.maps[index], "RdBu", vmin=-limit, vmax=limit)
        predicted = evidence.predicted[index]
        title = f"true {class_names[label]}\npredicted {class_names[predicted]}"
        left.set_title(title, color="black" if predicted == label else "tab:red", **words)
        against = class_names[evidence.against[index]]
        right.set_title(f"against {against}\n{evidence.maps[index].sum():+.1f} nats", **words)
    shrink = min(1, 3 / len(rows))
    bar = figure.colorbar(shown, ax=grid, extend="both", shrink=shrink, aspect=25, pad=0.01)
    bar.set_label("nats for the true class (blue), against it (red)")
    return figure_png(figure)
