"""One row per picture: what a classifier said about it."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.atomic import atomic_path


def write_predictions(
    path: str | Path,
    pictures: Sequence[str],
    labels: Sequence[int],
    probabilities: np.ndarray,
) -> None:
    """Writes `path,label,predicted,p_0,p_1,…` with a header, atomically.

    Args:
        path: The CSV file to write.
        pictures: The name of each picture.
        labels: The true class of each picture; -1 where it is not known.
        probabilities: float `[count, num_classes]`. `predicted` is the class of the largest.
    """
    num_classes = probabilities.shape[1]
    header = ["path", "label", "predicted", *(f"p_{index}" for index in range(num_classes))]
    # A file's name may hold bytes that are no text: they are written as they are.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        for picture, label, row in zip(pictures, labels, probabilities, strict=True):
            writer.writerow([picture, int(label), int(row.argmax()), *(f"{p:.6g}" for p in row)])
