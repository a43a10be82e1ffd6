"""Folders of image files: a folder for each class, or CSV files that list them.

What is written in a CSV file may come from anybody: its paths don't lead out of the folder.
Symbolic links are followed.
"""

import csv
import os
import re
from collections import Counter, namedtuple
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.checks import checked_class_names
from keras_pixelcnnpp.data.dataset import (
    SPLIT_NAMES,
    Dataset,
    LabeledImages,
    count_classes,
    named_splits,
    with_validation,
)
from keras_pixelcnnpp.data.images import SUFFIXES, fit_image, open_image
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import counted

NAMED = 10  # so many bad files an error names

# An image file that is not read yet: its path below the folder, and where that was found.
Listed = namedtuple("Listed", ("path", "label", "place"))


def load_folder(
    folder: Path,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    resize: str = "center_crop",
    skip_corrupted: bool = False,
    seed: int = 0,
) -> Dataset:
    """Loads a folder of image files, in one of two forms.

    1. CSV files `train.csv`, `validation.csv` and `test.csv` list them: rows `path,label` without a
       header. Paths are relative to the folder and stay in it. Labels count from 0; -1 means
       unlabeled. The classes are called `Class0`, `Class1`, … Only `train.csv` must be there, and
       may list an image several times, if there is a `validation.csv`: it is then trained on more
       often.
    2. A folder for each class, `train/burger/*.jpg`, `validation/burger/*.jpg`, … or just
       `burger/*.jpg`, …, at any depth. The classes are the folders of the training split in
       alphabetical order. The folder `test` may hold images directly: they are unlabeled.

    Without a validation split, a tenth of the training images becomes it. Without any split, 80 %
    of each class become `train`, 10 % `validation`, 10 % `test`.

    Args:
        folder: The folder.
        image_shape: Triple of integers `(height, width, channels)` to convert the images to.
        resize: `"center_crop"` or `"stretch"`, as in `fit_image`.
        skip_corrupted: Whether to go on without the files that can't be read.
        seed: Integer, chooses the images of splits that aren't there.

    Returns:
        `Dataset`.

    Raises:
        UserError: If files and folders don't fit together; or if images can't be read: the message
            names the first ten.
    """
    has_csv = any((folder / f"{split}.csv").exists() for split in SPLIT_NAMES)
    class_names, listed, notes = (_list_csv_files if has_csv else _list_class_folders)(folder)
    splits, of_reading = _read(folder, listed, image_shape, resize, skip_corrupted)
    splits, of_splits = (_split_in_three if "all" in splits else with_validation)(splits, seed)
    notes = (*of_splits, *of_reading, *notes)
    if image_shape[2] == 3 and all(map(_is_gray, splits.values())):
        notes += ("All images are gray. With channels=1, or train's --channels 1, they stay so.",)
    return Dataset(folder.resolve().name, class_names, splits, notes)


def _is_gray(split):
    return (split.images[..., :1] == split.images[..., 1:]).all()


def _read(folder, listed, image_shape, resize, skip_corrupted):
    """Returns the images of each split, and lines for the user."""
    height, width, channels = image_shape
    splits, bad, reshaped = {}, [], 0
    tick = progress(sum(map(len, listed.values())), unit="file")
    for name, rows in listed.items():
        images, good = np.zeros((len(rows), *image_shape), dtype="uint8"), []
        for row in rows:
            tick()
            try:
                image = open_image(file_inside(folder, row.path), channels)
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


def _split_in_three(splits, seed):
    try:
        rest, held_out = splits["all"].hold_out(0.2, seed)
        validation, test = held_out.hold_out(0.5, seed)
    except UserError as error:
        smallest = counted(np.bincount(splits["all"].labels).min())
        raise UserError(
            "Too few images to be split 80/10/10. Expected ten or more of each class, or folders "
            f"train and validation. Received: a class of {smallest}"
        ) from error
    note = (
        "No folders train, validation and test: every class was split 80/10/10 into them "
        f"(seed {seed})."
    )
    return {"train": rest, "validation": validation, "test": test}, (note,)


def _list_class_folders(folder):
    """Returns the classes, the files of each split (or all of them), and lines for the user."""
    folders_here = [path.name for path in _subfolders(folder)]
    names = named_splits(name for name in folders_here if name.lower() in SPLIT_NAMES)
    folders = {split: folder / name for split, name in names.items()} or {"all": folder}
    if not folders.keys() & {"train", "all"}:
        found = " and ".join(names.values())
        raise UserError(f"{folder} has the split {found}, but the folder train is missing")
    class_names = [path.name for path in _subfolders(folders.get("train", folder))]
    if not class_names:
        raise UserError(
            f"{folder} holds neither train.csv, nor a folder for each class, nor a folder train "
            "with a folder for each class (train, validation and test are never classes)"
        )
    class_names = checked_class_names(class_names, len(class_names))
    skipped, listed = Counter(), {}
    for split, place in folders.items():
        files = _labeled_files(place, class_names, skipped)
        # Beside the folders of the classes.
        others = [path for path in sorted(place.glob("[!.]*.*")) if _is_image(path)]
        if split == "test" and not files:
            files = [(path, -1) for path in others]
        elif others:
            skipped["beside the folders of the classes"] += len(others)
        missing = {*range(len(class_names))} - {label for _, label in files}
        if not files or (split in ("train", "all") and missing):
            empty = place / class_names[min(missing)] if files else place
            raise UserError(f"{empty} holds no image file ({', '.join(SUFFIXES)})")
        kind = "Class folders" if split == "all" else f"Split {split}"
        listed[split] = [
            Listed(path.relative_to(folder).as_posix(), label, kind) for path, label in files
        ]
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
    notes = [f"Files were skipped: {kinds}."] if skipped else []
    beside = [name for name in folders_here if names and name not in names.values()]
    if beside:
        notes.append(f"Folders beside the splits were left out: {', '.join(beside)}.")
    only, *others = _subfolders(folders.get("train", folder))
    if not others and any(_subfolders(only)):
        notes.append(f"All images are of one class, {only.name}. Its own folders are no classes.")
    return class_names, listed, notes


def _labeled_files(folder, class_names, skipped):
    """Returns the image files below the folders of the classes; counts others in `skipped`."""
    found = []
    for subfolder in _subfolders(folder):
        if subfolder.name not in class_names:
            raise UserError(
                f"{subfolder}: the training split has no class {subfolder.name!r}. "
                f"It has: {', '.join(class_names)}"
            )
        label = class_names.index(subfolder.name)
        files = visible_files(subfolder)
        found += [(path, label) for path in files if _is_image(path)]
        skipped.update(path.suffix or path.name for path in files if not _is_image(path))
    return found


def _is_image(path):
    return path.suffix.lower() in SUFFIXES


def _subfolders(folder):
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


def _list_csv_files(folder):
    """Returns the classes, what the CSV file of each split lists, and no lines for the user."""
    if not (folder / "train.csv").is_file():
        raise UserError(f"{folder}: train.csv is missing")
    listed = {
        split: _list_csv(folder, f"{name}.csv")
        for split, name in named_splits(
            name for name in SPLIT_NAMES if (folder / f"{name}.csv").exists()
        ).items()
    }
    seen = {}
    for split, rows in listed.items():
        for row in rows:
            first = seen.setdefault(PurePosixPath(row.path), row)
            # But not where some of the training images will be held out.
            repeats = split == "train" and "validation" in listed and row.label == first.label
            if first is not row and not repeats:
                raise UserError(f"{row.place}: {row.path!r} was listed before, {first.place}")
    labels = {split: np.array([row.label for row in rows]) for split, rows in listed.items()}
    num_classes = count_classes(labels, lambda split, row: listed[split][row].place)
    return checked_class_names(None, num_classes), listed, []


def _list_csv(folder, name):
    try:
        # utf-8-sig: spreadsheet programs write a byte order mark.
        with file_inside(folder, name).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [
                _parse(f"{folder / name} row {reader.line_num}", fields)
                for fields in reader
                if fields
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{folder / name} cannot be read as a CSV file: {error}") from error
    if not rows:
        raise UserError(f"{folder / name} lists no image")
    return rows


def _parse(place, fields):
    if len(fields) != 2:
        raise UserError(f"{place}: expected path,label; found {len(fields)} columns")
    path, label = (field.strip() for field in fields)
    # Not int(): it takes "1_0" and digits of other scripts. Nine digits fit an int32.
    if not re.fullmatch(r"-?[0-9]{1,9}", label):
        raise UserError(f"{place}: label {label!r} is not an integer (the file has no header)")
    return Listed(path, int(label), place)


def file_inside(folder: Path, path: str) -> Path:
    """Returns the file `path` below `folder`; the path may have been written by anybody."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{path!r} must be a path below the folder, without '..'")
    with suppress(OSError, ValueError):  # a name that is too long, or holds a null byte
        if (folder / relative).is_file():
            return folder / relative
    raise UserError(f"{path!r}: no such file")
