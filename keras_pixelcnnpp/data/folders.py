"""Folders of image files: a folder for each class, or CSV files that list them.

What is written in a CSV file may come from anybody: its paths don't lead out of the folder.
Symbolic links are followed.
"""

import csv
import os
import re
from collections import Counter, namedtuple
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.checks import checked_class_names
from keras_pixelcnnpp.data.dataset import (
    SPLIT_NAMES,
    Dataset,
    LabeledImages,
    count_classes,
    named_splits,
)
from keras_pixelcnnpp.data.images import SUFFIXES, fit_image, open_image
from keras_pixelcnnpp.errors import UserError

NAMED = 10  # so many bad files an error names
# What the header of a CSV file may call its columns.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "image")
LABEL_COLUMNS = ("label", "class", "class_name", "target")
_INTEGER = re.compile("-?[0-9]{1,9}")  # int() takes "1_0" and digits of other scripts, too

# An image file that is not read yet: its path below the folder, and where that was found.
Listed = namedtuple("Listed", ("path", "label", "place"))
# The classes, the files of each split, and lines for the user.
Listing = tuple[tuple[str, ...], dict[str, list[Listed]], list[str]]


def load_folder(
    folder: Path,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    resize: str = "center_crop",
    skip_corrupted: bool = False,
    white_level: int | None = None,
) -> Dataset:
    """Loads a folder of image files, in one of three forms.

    1. CSV files list them: `train.csv`, `validation.csv` and `test.csv`, or a single file of any
       name. Rows are `path,label`; a header may name these columns (`filename,label`) among others.
       Labels are integers from 0, whose classes are called `Class0`, `Class1`, …, or the names of
       classes; -1 or nothing means unlabeled, and there may be no labels at all. Paths are relative
       to the folder, or to the one below it that holds the files, and stay in it. `train.csv` may
       list an image several times, if there is a `validation.csv`: it is then trained on more
       often.
    2. A folder for each class, `train/burger/*.jpg`, `validation/burger/*.jpg`, … or just
       `burger/*.jpg`, …, at any depth. The classes are the folders of the training split in
       alphabetical order; those without an image file are left out.
    3. Images without a folder for each class: they are unlabeled, as those in `test/*.jpg`.

    Args:
        folder: The folder.
        image_shape: Triple of integers `(height, width, channels)` to convert the images to.
        resize: `"center_crop"` or `"stretch"`, as in `fit_image`.
        skip_corrupted: Whether to go on without the files that can't be read.
        white_level: As in `read_image`.

    Returns:
        `Dataset` with the splits that the folder has; without any, with the split `"all"`.

    Raises:
        UserError: If files and folders don't fit together; or if images can't be read: the message
            names the first ten.
    """
    has_csv = any(folder.glob("[!.]*.csv"))
    class_names, listed, notes = (_list_csv_files if has_csv else _list_class_folders)(folder)
    how: dict[str, Any] = {"resize": resize, "white_level": white_level}
    splits, of_reading = _read(folder, listed, image_shape, skip_corrupted, **how)
    notes = (*of_reading, *notes)
    if image_shape[2] == 3 and all(map(_is_gray, splits.values())):
        notes += ("All images are gray. With channels=1, or train's --channels 1, they stay so.",)
    return Dataset(folder.resolve().name, class_names, splits, notes)


def _is_gray(split: LabeledImages) -> bool:
    return (split.images[..., :1] == split.images[..., 1:]).all()


def _read(
    folder: Path,
    listed: dict[str, list[Listed]],
    image_shape: tuple[int, int, int],
    skip_corrupted: bool,
    resize: str,
    white_level: int | None,
) -> tuple[dict[str, LabeledImages], list[str]]:
    """Returns the images of each split, and lines for the user."""
    height, width, channels = image_shape
    splits, bad, reshaped = {}, [], 0
    tick = progress(sum(map(len, listed.values())), unit="file")
    for name, rows in listed.items():
        images, good = np.zeros((len(rows), *image_shape), dtype="uint8"), []
        for row in rows:
            tick()
            try:
                image = open_image(file_inside(folder, row.path), channels, white_level)
            except UserError as error:
                bad.append(f"{row.place}: {error}")
                continue
            images[len(good)] = fit_image(image, (height, width), resize)
            good.append(row)
            reshaped += image.width * height != image.height * width
        labels = np.array([row.label for row in good], dtype="int32")
        splits[name] = LabeledImages(images[: len(good)], labels, tuple(row.path for row in good))
        lost = {row.label for row in rows if row.label >= 0} - {*labels.tolist()}
        if skip_corrupted and name in ("train", "all") and lost:
            raise UserError(f"{folder}: no image of class {max(lost)} can be read. {bad[-1]}")
    notes = []
    if bad:
        first = "; ".join(bad[:NAMED]) + f"; and {len(bad) - NAMED} more" * (len(bad) > NAMED)
        if not skip_corrupted:
            count = f"{len(bad)} bad files. " * (len(bad) > 1)
            raise UserError(
                f"{count}{first} (skip_corrupted=True, or train's --skip-corrupted, leaves such "
                "files out)"
            )
        notes.append(f"Files that cannot be read were left out, {len(bad)}: {first}.")
    if reshaped:
        done = "cropped in the middle" if resize == "center_crop" else "stretched"
        notes.append(f"Images of another shape than {width}×{height} were {done}: {reshaped}.")
    return splits, notes


def _list_class_folders(folder: Path) -> Listing:
    """Returns the classes, the files of each split (or all of them), and lines for the user."""
    folders_here = [path.name for path in _subfolders(folder)]
    names = named_splits(name for name in folders_here if name.lower() in SPLIT_NAMES)
    folders = {split: folder / name for split, name in names.items()} or {"all": folder}
    skipped = Counter()
    found = {split: _files_by_class(place, skipped) for split, place in folders.items()}
    # Those of the training images, if there are any.
    first = [found[split] for split in ("train", "all") if split in found] or found.values()
    class_names = sorted({name for by_class in first for name in by_class if by_class[name]})
    class_names = checked_class_names(class_names, len(class_names))
    listed = {}
    for split, place in folders.items():
        files = _labeled(place, found[split], class_names)
        # Next to the folders of the classes, or without any.
        others = [path for path in sorted(place.glob("[!.]*.*")) if _is_image(path)]
        if not files:
            files = [(path, -1) for path in others]
        elif others:
            skipped["beside the folders of the classes"] += len(others)
        if not files:
            raise UserError(f"{place} holds no image file ({', '.join(SUFFIXES)}) and no CSV file")
        kind = "Class folders" if split == "all" else f"Split {split}"
        listed[split] = [
            Listed(path.relative_to(folder).as_posix(), label, kind) for path, label in files
        ]
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
    notes = [f"Files were skipped: {kinds}."] if skipped else []
    beside = [name for name in folders_here if names and name not in names.values()]
    if beside:
        notes.append(f"Folders beside the splits were left out: {', '.join(beside)}.")
    empty = {name for by_class in found.values() for name in by_class} - {*class_names}
    if empty:
        notes.append(f"Folders without an image file were left out: {', '.join(sorted(empty))}.")
    of_class = [place / name for place in folders.values() for name in class_names]
    if len(class_names) == 1 and any(_subfolders(path) for path in of_class if path.is_dir()):
        notes.append(f"The folders in {class_names[0]} are no classes.")
    return class_names, listed, notes


def _files_by_class(folder: Path, skipped: Counter) -> dict[str, list[Path]]:
    """Returns the image files below each folder in `folder`, by its name; counts others."""
    found = {}
    for subfolder in _subfolders(folder):
        files = visible_files(subfolder)
        found[subfolder.name] = [path for path in files if _is_image(path)]
        skipped.update(path.suffix or path.name for path in files if not _is_image(path))
    return found


def _labeled(
    folder: Path, by_class: dict[str, list[Path]], class_names: Sequence[str]
) -> list[tuple[Path, int]]:
    for name, files in by_class.items():
        if files and name not in class_names:
            raise UserError(
                f"{folder / name}: the training split has no class {name!r}. "
                f"It has: {', '.join(class_names) or 'none'}"
            )
    return [(path, class_names.index(name)) for name, files in by_class.items() for path in files]


def _is_image(path: PurePath) -> bool:
    return path.suffix.lower() in SUFFIXES


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def visible_files(folder: Path) -> list[Path]:
    """The files below a folder, sorted, without hidden ones: they may be half written, or copies.

    Hidden is what begins with a dot, and what lies in a folder that does, such as
    `.ipynb_checkpoints`. Symbolic links are followed, but no folder is searched twice: links may
    lead in a circle.
    """
    found, searched = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.realpath(place) in searched:
            folders.clear()
            continue
        searched.add(os.path.realpath(place))
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def _list_csv_files(folder: Path) -> Listing:
    """Returns the classes, what the CSV file of each split lists, and lines for the user."""
    files = {path.stem: path.name for path in sorted(folder.glob("[!.]*.csv"))}
    order = list(SPLIT_NAMES)  # the training split first
    stems = [stem for stem in files if stem.lower() in order]
    splits = named_splits(sorted(stems, key=lambda stem: order.index(stem.lower())))
    if not splits and len(files) == 1:
        splits = {"all": next(iter(files))}
    if not splits:
        raise UserError(
            f"{folder}: expected train.csv, or a single CSV file that lists the images. "
            f"Received: {', '.join(files.values())}"
        )
    listed = {split: _list_csv(folder, files[stem]) for split, stem in splits.items()}
    seen = {}
    for split, rows in listed.items():
        for row in rows:
            first = seen.setdefault(PurePosixPath(row.path), row)
            # But not where some of the training images will be held out.
            repeats = split == "train" and "validation" in listed and row.label == first.label
            if first is not row and not repeats:
                raise UserError(f"{row.place}: {row.path!r} was listed before, {first.place}")
    others = [name for stem, name in files.items() if stem not in splits.values()]
    notes = [f"Other CSV files were left out: {', '.join(others)}."]
    return *_with_labels(listed), notes if others else []


def _with_labels(
    listed: dict[str, list[Listed]],
) -> tuple[tuple[str, ...], dict[str, list[Listed]]]:
    """Returns the classes, and the rows with integers where they had texts as labels."""
    rows = [row for of_split in listed.values() for row in of_split if row.label not in ("", "-1")]
    names = [row for row in rows if not _INTEGER.fullmatch(row.label)]
    known = {"": -1, "-1": -1}
    if names:
        if len(names) < len(rows):
            label = names[0].label
            raise UserError(
                f"{names[0].place}: label {label!r:.80} is not an integer, as others are"
            )
        first = listed.get("train", listed.get("all", rows))
        class_names = sorted({row.label for row in first} - {*known})
        class_names = checked_class_names(class_names, len(class_names))
        known |= {name: label for label, name in enumerate(class_names)}
    else:
        known |= {row.label: int(row.label) for row in rows}
    for row in rows:
        if row.label not in known:
            raise UserError(f"{row.place}: the training split has no class {row.label!r:.80}")
    listed = {
        split: [row._replace(label=known[row.label]) for row in of_split]
        for split, of_split in listed.items()
    }
    if not names:
        labels = {split: np.array([row.label for row in rows]) for split, rows in listed.items()}
        num_classes = count_classes(labels, lambda split, row: listed[split][row].place)
        class_names = checked_class_names(None, num_classes)
    return class_names, listed


def _list_csv(folder: Path, name: str) -> list[Listed]:
    """Returns what a CSV file lists; the labels are texts."""
    file = folder / name
    try:
        # utf-8-sig: spreadsheet programs write a byte order mark.
        with file_inside(folder, name).open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened)
            lines = [
                (f"{file} row {reader.line_num}", [field.strip() for field in fields])
                for fields in reader
                if fields
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as a CSV file: {error}") from error
    columns, has_header = _columns(*lines[0]) if lines else ((), True)
    rows = []
    for place, fields in lines[has_header:]:
        if len(fields) != len(lines[0][1]):
            raise UserError(f"{place}: expected {len(lines[0][1])} columns; found {len(fields)}")
        path, label = (fields[column] if column is not None else "" for column in columns)
        rows.append(Listed(path, label, place))
    if not rows:
        raise UserError(f"{file} lists no image")
    below = _place_of(folder, file.stem, rows).relative_to(folder).as_posix()
    return rows if below == "." else [row._replace(path=f"{below}/{row.path}") for row in rows]


def _columns(place: str, fields: list[str]) -> tuple[tuple[int, int | None], bool]:
    """Returns where path and label (`None` without one) stand, and whether this is a header."""
    if _is_image(PurePosixPath(fields[0])) and len(fields) <= 2:
        return (0, 1 if len(fields) > 1 else None), False
    names = [field.lower() for field in fields]
    path, label = (
        next((names.index(name) for name in known if name in names), None)
        for known in (PATH_COLUMNS, LABEL_COLUMNS)
    )
    if path is None or (label is None and len(names) > 1):
        raise UserError(
            f"{place}: expected path,label, or a header with a column {' or '.join(PATH_COLUMNS)} "
            f"and a column {' or '.join(LABEL_COLUMNS)}. Received: {','.join(fields)!r:.200}. A "
            "CSV file that doesn't list the images must not lie in the folder."
        )
    return (path, label), True


def _place_of(folder: Path, stem: str, rows: list[Listed]) -> Path:
    """Returns the folder that the paths are relative to: this, that of the split, or the only one.

    A file that isn't there is told of later.
    """
    for place in (folder, folder / stem):
        if _has_any(place, rows):
            return place
    below = [place for place in _subfolders(folder) if _has_any(place, rows)]
    return below[0] if len(below) == 1 else folder


def _has_any(folder: Path, rows: list[Listed]) -> bool:
    for row in rows[:100]:
        with suppress(UserError):
            return bool(file_inside(folder, row.path))
    return False


def file_inside(folder: Path, path: str) -> Path:
    """Returns the file `path` below `folder`; the path may have been written by anybody."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{path!r} must be a path below the folder, without '..'")
    with suppress(OSError, ValueError):  # a name that is too long, or holds a null byte
        if (folder / relative).is_file():
            return folder / relative
    raise UserError(f"{path!r}: no such file")
