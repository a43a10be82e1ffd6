"""Some picture files, classified: a table to look at, and a CSV file."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.classifiers import write_predictions
from keras_pixelcnnpp.data.images import read_image, to_levels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
from keras_pixelcnnpp.savedmodel.trained import TrainedModel


def classify_files(
    classifier: SavedModelClassifier | TrainedModel,
    files: list[Path],
    csv: Path | None,
    of_folders: Callable[[Path], str],
) -> bool:
    """Prints what there is to say of each file; returns whether all of them are pictures.

    `of_folders` says what to do with a folder of them.
    """
    names, pictures = _read(files, classifier, of_folders)
    if not pictures:
        raise UserError("None of the files can be classified.")
    result = classifier.classify(to_levels(np.stack(pictures), classifier.num_levels))
    _print_table(names, result, classifier.class_names)
    if csv is not None:
        write_predictions(csv, names, [-1] * len(names), result["probabilities"])
        print(f"Wrote {csv}")
    return len(pictures) == len(files)


def _read(
    files: list[Path],
    classifier: SavedModelClassifier | TrainedModel,
    of_folders: Callable[[Path], str],
) -> tuple[list[str], list[np.ndarray]]:
    """Reads what can be read; says in one line each what cannot."""
    names, pictures = [], []
    for file in files:
        try:
            if file.is_dir():
                raise UserError(f"{file} is a folder. {of_folders(file)}")
            pictures.append(read_image(file, classifier.image_shape, classifier.resize))
            names.append(str(file))
        except UserError as error:
            print(f"pixelcnnpp: error: {error}", file=sys.stderr)
    return names, pictures


def _print_table(names: list[str], result: dict, class_names: tuple[str, ...]) -> None:
    table = Table()
    table.add_column("picture", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("bits/dim", justify="right")
    columns = (result["class_id"], result["probabilities"], result["bits_per_dim"])
    for name, label, probabilities, bits in zip(names, *columns, strict=True):
        table.add_row(name, class_names[label], f"{probabilities[label]:.1%}", f"{bits:.3f}")
    Console(markup=False, emoji=False).print(table)  # as `print_table` does
