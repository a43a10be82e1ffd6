"""A folder that holds one folder of pictures for each class, with or without splits."""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from keras_pixelcnnpp.data.dataset import (
    Dataset,
    LabelledImages,
    count_classes,
    hold_out,
    with_validation,
)
from keras_pixelcnnpp.data.images import SUFFIXES, read_image
from keras_pixelcnnpp.errors import UserError

# What people call the splits, and what they are called here.
SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


def load_class_folders(folder, image_shape, seed=0, wanted=None):
    """Loads `train/burger/*.jpg`, `validation/burger/*.jpg`, … or just `burger/*.jpg`, ….

    The classes are the folders of the training split in alphabetical order. PNG and JPEG files
    below a class folder count, at any depth. The folder `test` may hold pictures directly: they are
    unlabeled. Without a validation folder, a tenth of the training pictures becomes that split;
    without any split folder, 80 % of each class become `train`, 10 % `validation`, 10 % `test`.

    Args:
        folder: `pathlib.Path`.
        image_shape: Triple of integers `(height, width, channels)` to convert the pictures to.
        seed: Integer, chooses the pictures of splits that aren't there.
        wanted: Names of the splits to read; by default all.

    Returns:
        `Dataset` with 256 levels.

    Raises:
        UserError: If the folders don't fit together or a picture is bad; the message names it.
    """
    found = [name for name in SPLIT_FOLDERS if (folder / name).is_dir()]
    folders = {SPLIT_FOLDERS[name]: folder / name for name in found}
    if len(folders) < len(found):
        raise UserError(f"{folder}: two folders for one split among {', '.join(found)}")
    if folders and "train" not in folders:
        raise UserError(f"{folder}: the folder train is missing")
    class_names = tuple(path.name for path in _subfolders(folder, folders.get("train", folder)))
    for name in class_names:
        _require_text(name)
    if not class_names:
        raise UserError(
            f"{folder} holds neither train.csv, nor a folder for each class, nor a folder train "
            "with a folder for each class"
        )
    skipped = Counter()
    splits = {
        name: _read_split(folder, path, class_names, image_shape, name, skipped)
        for name, path in (folders or {"train": folder}).items()
        if _is_read(name, wanted, folders)
    }
    if not folders:
        splits, notes = _split_in_three(splits, seed)
    else:
        splits, notes = _with_validation(splits, folders, seed)
    if skipped:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(skipped.items()))
        notes = (*notes, f"Files that are neither PNG nor JPEG by name were skipped: {kinds}.")
    return Dataset(folder.resolve().name, class_names, 256, splits, notes)


def _require_text(class_name):
    # On some systems a folder's name may hold any bytes; JSON and pages hold text.
    try:
        class_name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The name of a class must be text in UTF-8. Received: the folder {class_name!a}"
        ) from None


def _read_split(root, folder, class_names, image_shape, split, skipped):
    listed = []
    for subfolder in _subfolders(root, folder):
        if subfolder.name not in class_names:
            raise UserError(
                f"{subfolder}: the training split has no class {subfolder.name!r}. "
                f"It has: {', '.join(class_names)}"
            )
        files = _pictures(subfolder.rglob("*"), skipped)
        if split == "train" and not files:
            raise UserError(f"{subfolder} holds no PNG or JPEG file")
        listed += [(file, class_names.index(subfolder.name)) for file in files]
    if split == "test" and not listed:
        listed = [(file, -1) for file in _pictures(folder.iterdir(), skipped)]
    if not listed:
        raise UserError(f"{folder} holds no PNG or JPEG file")
    paths = [file.relative_to(root).as_posix() for file, _ in listed]
    files = [file_inside(root, path) for path in paths]
    labels = [label for _, label in listed]
    return read_pictures(files, labels, paths, image_shape, [f"Split {split}"] * len(files))


def _subfolders(root, folder):
    found = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    for path in found:
        # Before it is searched: a link may lead to the root of the file system.
        if not path.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{path} leads out of the folder")
    return found


def _pictures(paths, skipped):
    """Returns the picture files among `paths`, sorted, and counts the others in `skipped`."""
    files = sorted(path for path in paths if path.is_file() and not path.name.startswith("."))
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    skipped.update(
        path.suffix or path.name for path in files if path.suffix.lower() not in SUFFIXES
    )
    return pictures


def _is_read(split, wanted, present):
    """Whether the pictures of `split` are needed: a validation split may be a part of `train`."""
    return wanted is None or split in wanted or (split == "train" and "validation" not in present)


def _with_validation(splits, present, seed):
    return (splits, ()) if "validation" in present else with_validation(splits, seed)


def _split_in_three(splits, seed):
    rest, held_out = hold_out(splits["train"], 0.2, seed)
    validation, test = hold_out(held_out, 0.5, seed)
    note = (
        "No folders train, validation and test: every class was split 80/10/10 into them "
        f"(seed {seed})."
    )
    return {"train": rest, "validation": validation, "test": test}, (note,)


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


def load_course_folder(folder, image_shape, seed=0, wanted=None):
    """Loads a folder whose CSV files list pictures: rows `path,label` without a header.

    Paths are relative to the folder and stay in it. Labels count from 0; -1 means unlabeled. The
    classes are called `Class0`, `Class1`, … `validation.csv` and `test.csv` may be missing: a tenth
    of the training pictures then becomes the validation split, and there is no test split.

    Args:
        folder: `pathlib.Path`.
        image_shape: Triple of integers `(height, width, channels)` to convert the pictures to.
        seed: Integer, chooses the pictures of a validation split that isn't there.
        wanted: Names of the splits to read; by default all.

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
        if _is_read(split, wanted, rows)
    }
    splits, notes = _with_validation(splits, rows, seed)
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


def file_inside(folder, path):
    """Returns the file that `path`, relative to `folder`, leads to.

    Args:
        folder: `pathlib.Path` of the data.
        path: String with forward slashes, from a file that anybody may have written.

    Returns:
        The resolved `pathlib.Path`.

    Raises:
        UserError: If the path is absolute, has `..`, or leads out of the folder by a link; or if
            there is no such file.
    """
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{path!r} must be a path below the folder, without '..'")
    try:
        file = (folder / relative).resolve()
        # First, so that the answer doesn't tell which files exist elsewhere.
        if not file.is_relative_to(folder.resolve()):
            raise UserError(f"{path!r} leads out of the folder")
        if not file.is_file():
            raise UserError(f"{path!r}: no such file")
    # Links in a circle; names that are too long or hold a null byte.
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path!r} is not a usable path: {error}") from error
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path!r} is not a usable path: {error}") from error
    return file


def read_pictures(files, labels, paths, image_shape, places):
    """Reads all pictures of a split.

    Args:
        files: Sequence of `pathlib.Path`.
        labels: Sequence of integers, -1 for unlabeled.
        paths: Sequence of strings, what to call each file in reports.
        image_shape: Triple of integers `(height, width, channels)`.
        places: Sequence of strings, where a bad file is listed.

    Returns:
        `LabelledImages` with 256 levels.

    Raises:
        UserError: If a file can't be read; the message names its place.
    """
    images = np.empty((len(files), *image_shape), dtype="uint8")
    for row, (file, place) in enumerate(zip(files, places, strict=True)):
        try:
            images[row] = read_image(file, image_shape)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error
    return LabelledImages(images, np.asarray(labels, dtype="int32"), tuple(paths))
