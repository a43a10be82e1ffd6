"""`evaluate evidence`: maps which pixels the classifications of PixelCNN++ rest on."""

from pathlib import Path

import numpy as np

from keras_pixelcnnpp.evaluate.figures import figure_png, maps_figure
from keras_pixelcnnpp.evaluate.measurements import EvidenceOptions
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.utils.files import counted, write_bytes


def measure(subject: Subject, options: EvidenceOptions, folder: Path) -> dict:
    """Writes maps of `log p(x_i | x_<i, true) - log p(x_i | x_<i, against)`, in nats.

    `against` is the most probable class that is not the true one.
    """
    model, class_names = subject.model, subject.class_names
    images = subject.dataset.images(subject.split, with_labels=True)
    print(f"Scoring {counted(len(images))} of the split {subject.split} under every class")
    scores = model.class_log_likelihoods(images.images, options.batch_size, verbose="auto")
    # Not the probabilities, of which several may be rounded to 0.
    logits = model.posterior.class_logits(scores)
    chosen = choose(images.labels, logits.argmax(axis=1), options.per_class)
    images, logits = images.take(chosen), logits[chosen]
    predicted = logits.argmax(axis=1)
    logits[np.arange(len(chosen)), images.labels] = -np.inf
    against = logits.argmax(axis=1)
    maps = model.evidence_map(images.images, images.labels, against, options.batch_size)
    columns = (images.paths, images.labels, predicted, against, maps)
    rows, titles = [], []
    for path, *labels, nats in zip(*columns, strict=True):
        true, best, other = (class_names[label] for label in labels)
        total = float(nats.sum(dtype=np.float64))
        row = {"path": path, "label": true, "predicted": best, "against": other, "nats": total}
        rows.append(row)
        titles.append(f"true {true}\npredicted {best}\nagainst {other}: {total:+.1f} nats")
    figure = maps_figure(
        images.images, maps, titles, signed=True, columns=min(options.per_class, 4)
    )
    write_bytes(folder / "evidence.png", figure_png(figure))
    facts = {"split": subject.split, "logit_scale": model.logit_scale}
    return {**facts, "count": len(rows), "images": rows}


def choose(labels: np.ndarray, predicted: np.ndarray, per_class: int) -> np.ndarray:
    """Chooses `per_class` images of each class, up to half of them misclassified, as indices."""
    rows = []
    for label in np.unique(labels):
        right = np.flatnonzero((labels == label) & (predicted == label))
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        mistakes = min(len(wrong), max(per_class // 2, per_class - len(right)))
        rows.extend([*right[: per_class - mistakes], *wrong[:mistakes]])
    return np.array(rows, dtype=int)
