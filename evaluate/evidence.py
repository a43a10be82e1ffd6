"""`evaluate evidence`: maps which pixels the classifications of PixelCNN++ rest on."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.classification import load_classifier
from keras_pixelcnnpp.evaluate.figures import color_limit, figure_png, new_figure, show_pixels
from keras_pixelcnnpp.files import counted, write_bytes, write_json
from keras_pixelcnnpp.run import RunFolder


def evaluate_evidence(folder: RunFolder, options: SimpleNamespace) -> None:
    """Computes evidence maps of some images, and writes them.

    A map is `log p(x_i | x_<i, true) - log p(x_i | x_<i, against)`, in nats. `against` is the most
    probable class that is not the true one.
    """
    class_names = folder.read_config()["data"]["class_names"]
    if len(class_names) == 1:
        raise UserError("Evidence compares two classes. Received: a run with a single class")
    classifier = load_classifier(folder, options.batch_size, options.verbose)
    dataset = folder.load_data(options.data, options.classes_in_order)
    options.split = dataset.split_to_measure(options.split)
    images = dataset.images(options.split, with_labels=True)
    print(f"Scoring {counted(len(images))} of the split {options.split} under every class")
    probabilities = classifier.predict_proba(images.images)
    chosen = choose(images.labels, probabilities.argmax(axis=1), options.per_class)
    images, probabilities = images.take(chosen), probabilities[chosen]
    predicted = probabilities.argmax(axis=1)
    probabilities[np.arange(len(chosen)), images.labels] = -1
    against = probabilities.argmax(axis=1)
    maps = classifier.model.evidence_map(
        images.images, images.labels, against, batch_size=options.batch_size
    )
    classes = [
        {"label": class_names[label], "predicted": class_names[best], "against": class_names[other]}
        for label, best, other in zip(images.labels, predicted, against, strict=True)
    ]
    write_bytes(folder.reports / "evidence.png", evidence_png(images.images, maps, classes))
    report = {
        "options": options.given,
        "split": options.split,
        "logit_scale": classifier.model.logit_scale,
        "count": len(images),
        "images": [
            {"path": path, **of_image, "nats": float(nats.sum(dtype=np.float64))}
            for path, of_image, nats in zip(images.paths, classes, maps, strict=True)
        ],
    }
    write_json(folder.reports / "evidence.json", report)
    print(f"Wrote evidence.png and evidence.json for {counted(len(images))} to {folder.reports}")


def choose(labels: np.ndarray, predicted: np.ndarray, per_class: int) -> np.ndarray:
    """Chooses `per_class` images of each class, up to half of them misclassified, as indices."""
    rows = []
    for label in np.unique(labels):
        right = np.flatnonzero((labels == label) & (predicted == label))
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        mistakes = min(len(wrong), max(per_class // 2, per_class - len(right)))
        rows.extend([*right[: per_class - mistakes], *wrong[:mistakes]])
    return np.array(rows, dtype=int)


def evidence_png(images: np.ndarray, maps: np.ndarray, classes: Sequence[dict[str, str]]) -> bytes:
    """Plots each image next to its evidence map, with one row per class, as PNG data.

    Blue pixels are evidence for the true class, red pixels against it. All maps have the same
    scale. `classes` has the names of the classes `label`, `predicted` and `against` of each image.
    """
    rows = {}
    for index, names in enumerate(classes):
        rows.setdefault(names["label"], []).append(index)
    columns = max(map(len, rows.values()))
    figure = new_figure(2.4 * columns + 0.8, 1.55 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = color_limit(maps)
    words = {"fontsize": 8, "parse_math": False}
    for row, indices in zip(grid, rows.values(), strict=True):
        for index, left, right in zip(indices, row[::2], row[1::2], strict=False):
            show_pixels(left, images[index])
            shown = right.imshow(maps[index], "RdBu", vmin=-limit, vmax=limit)
            label, predicted, against = classes[index].values()
            color = "black" if predicted == label else "tab:red"
            left.set_title(f"true {label}\npredicted {predicted}", color=color, **words)
            right.set_title(f"against {against}\n{maps[index].sum():+.1f} nats", **words)
    shrink = min(1, 3 / len(rows))
    bar = figure.colorbar(shown, ax=grid, extend="both", shrink=shrink, aspect=25, pad=0.01)
    bar.set_label("nats for the true class (blue), against it (red)")
    return figure_png(figure)
