"""A folder with train.csv, validation.csv and test.csv, as in UBC's CPEN 455 course project."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.labels import count_classes
from keras_pixelcnnpp.datasets.picture_files import file_inside, read_pictures
from keras_pixelcnnpp.datasets.splits import with_validation
from keras_pixelcnnpp.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Row:
    """One line of a CSV file. `place` says where it stands."""

    place: str
    path: str
    label: int
    file: Path


def is_course_folder(folder):
    """Returns whether `folder` holds one of the layout's CSV files."""
    return any((folder / f"{split}.csv").exists() for split in SPLITS)


def load_course_folder(folder, image_shape, seed=0):
    """Loads a folder whose CSV files list pictures: rows `path,label` without a header.

    Paths are relative to the folder and stay in it. Labels count from 0; -1 means unlabeled. The
    classes are called `Class0`, `Class1`, … `validation.csv` and `test.csv` may be missing: a tenth
    of the training pictures then becomes the validation split, and there is no test split.

    Args:
        folder: `pathlib.Path`.
        image_shape: Triple of integers `(height, width, channels)` to convert the pictures to.
        seed: Integer, chooses the pictures of a validation split that isn't there.

    Returns:
        `Dataset` with 256 levels.

    Raises:
        UserError: If a file, a row or a picture is bad; the message names it.
    """
    if not (folder / "train.csv").is_file():
        raise UserError(f"{folder}: train.csv is missing")
    rows = {
        split: _read_csv(folder, f"{split}.csv")
        for split in SPLITS
        if (folder / f"{split}.csv").exists()
    }
    _refuse_duplicates(row for split in rows.values() for row in split)
    labels = {split: np.array([row.label for row in listed]) for split, listed in rows.items()}
    num_classes = count_classes(labels, lambda split, row: rows[split][row].place)
    splits = {
        split: read_pictures(
            [row.file for row in listed],
            [row.label for row in listed],
            [row.path for row in listed],
            image_shape,
            [row.place for row in listed],
        )
        for split, listed in rows.items()
    }
    splits, notes = with_validation(splits, seed)
    names = tuple(f"Class{index}" for index in range(num_classes))
    return Dataset(folder.resolve().name, names, 256, splits, notes)


def _read_csv(folder, name):
    rows = []
    try:
        # utf-8-sig: spreadsheet programs write a byte order mark.
        with file_inside(folder, name).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [
                _parse(folder, f"{folder / name} row {reader.line_num}", fields)
                for fields in reader
                if fields
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{folder / name} cannot be read as a CSV file: {error}") from error
    if not rows:
        raise UserError(f"{folder / name} lists no picture")
    return rows


def _parse(folder, place, fields):
    if len(fields) != 2:
        raise UserError(f"{place}: expected path,label; found {len(fields)} columns")
    path, label = (field.strip() for field in fields)
    # Not int(): it takes "1_0" and digits of other scripts. Nine digits fit an int32.
    if not re.fullmatch(r"-?[0-9]{1,9}", label):
        raise UserError(f"{place}: label {label!r} is not an integer (the file has no header)")
    try:
        return Row(place, path, int(label), file_inside(folder, path))
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _refuse_duplicates(rows):
    seen = {}
    for row in rows:
        if row.file in seen:
            raise UserError(f"{row.place}: {row.path!r} was listed before, {seen[row.file]}")
        seen[row.file] = row.place
