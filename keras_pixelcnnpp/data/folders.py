"""Loads folders of image files, with a folder for each class or CSV files that list the images.

CSV files may come from untrusted sources, so their paths must stay inside the folder. Symbolic
links are followed.
"""

import csv
import math
import os
import re
from collections import Counter, defaultdict, namedtuple
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np

from keras_pixelcnnpp.conditions import Vectors
from keras_pixelcnnpp.data.dataset import (
    SPLIT_NAMES,
    Dataset,
    LabeledImages,
    count_classes,
    first_ten,
    named_splits,
)
from keras_pixelcnnpp.data.images import SUFFIXES, Changes, fit_image, open_image
from keras_pixelcnnpp.data.source import DataSource, LoadOptions
from keras_pixelcnnpp.utils.backend import progress
from keras_pixelcnnpp.utils.checks import checked_class_names, require_choice
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import counted, relative_path, sha256
from keras_pixelcnnpp.utils.hashes import HASH_LENGTH

# Accepted names of columns in the header of a CSV file.
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "image", "image_id", "id"),
    "label": ("label", "class", "class_name", "target"),
    "split": ("split",),
}
_INTEGER = re.compile("-?[0-9]{1,9}")  # int() also accepts "1_0" and digits of other scripts

# How to load images without a change, for its note. A trained model reads them as in its training.
ADVICE = {
    Changes.CROPPED: 'To keep the borders, train with resize="stretch" (train --resize stretch).',
    Changes.GRAY: "To read all images as gray, train with channels=1 (train --channels 1).",
    Changes.CLIPPED: "To clip fewer values, train with a larger white_level (train --white-level).",
}

# An unread image file: its path relative to the folder, its label, and where it is listed: a row of
# a CSV file, or nothing.
Listed = namedtuple("Listed", ("path", "label", "place", "vector"), defaults=(None,))


# Class names, files of each split, and messages for the user.
Listing = tuple[tuple[str, ...], dict[str, list[Listed]], list[str]]


class Folder(DataSource):
    """A folder of image files, in one of three forms.

    1. CSV files: `train.csv`, `validation.csv` and `test.csv`, or a single file of any name. Rows
       are `path,label`. A header may name these columns (`filename,label`) and others, of which
       `split` says whether an image is in `train`, `validation` (or `val`) or `test`, and those of
       `vectors` are the components of its vector. Labels are
       integers from 0, for classes `Class0`, `Class1`, …, or class names. Empty labels and -1 mark
       unlabeled images, and the labels may be missing. Paths are relative to the folder, or to a
       subfolder with the files. An image that is listed several times is trained on more often.
    2. A folder for each class: `train/burger/*.jpg`, `validation/burger/*.jpg`, …, or only
       `burger/*.jpg`, …, at any depth. The classes are the folders of the training split in
       alphabetical order, or in numerical order if all are integers, without empty folders.
    3. Images without a folder for each class, such as `test/*.jpg`. They are unlabeled.

    The images are resized to 32×32 RGB by default. With `as_uint16` of `load_dataset`, they are
    gray by default and keep their size, which must be the same.
    """

    form = "folder"
    has_files = True

    def __init__(self, text: str):
        super().__init__(text)
        self.name = self.path.resolve().name

    @classmethod
    def takes(cls, text: str) -> bool:
        return Path(text).is_dir()

    def load(self, how: LoadOptions) -> Dataset:
        folder = self.path
        if how.as_uint16:
            require_choice("channels", how.channels, (None, 1))
        has_csv = any(folder.glob("[!.]*.csv"))
        if how.vectors and not has_csv:
            raise UserError(
                f"{folder}: expected a CSV file with the columns {', '.join(how.vectors)}. "
                "Received: none"
            )
        if has_csv:
            listing = _list_csv_files(folder, how.unlabeled_others, how.vectors)
        else:
            listing = list_class_folders(folder, how.unlabeled_others)
        class_names, listed, notes = listing
        splits, of_reading = read_listed(folder, listed, how)
        notes = (*of_reading, *notes)
        return Dataset(self.name, class_names, splits, notes, tuple(how.vectors))


def read_listed(
    folder: Path, listed: dict[str, list[Listed]], how: LoadOptions, own_size: bool = False
) -> tuple[dict[str, LabeledImages], list[str]]:
    """Returns the images of each split, and messages for the user.

    With `own_size`, images are not resized to 32×32 by default, but must have one size.
    """
    resize, skip_corrupted = how.resize, how.skip_corrupted
    channels = how.channels or (1 if how.as_uint16 else 3)
    # `None` until the first image is read, whose size is that of the others.
    size: Any = how.size or (None if how.as_uint16 or own_size else (32, 32))
    is_given = size is not None
    splits, bad, changes = {}, [], Changes()
    tick = progress(sum(map(len, listed.values())), unit="file")
    for name, rows in listed.items():
        images, good, hashes = None, [], []
        for row in rows:
            tick()
            try:
                file = file_inside(folder, row.path)
                image = open_image(file, channels, how.white_level, how.as_uint16)
                own = image.height, image.width
                size = size or own
                if not is_given and own != size:
                    raise UserError(
                        f"{file}: expected images of one size, {size[1]}×{size[0]}, or the "
                        f"argument image_size. Received: {own[1]}×{own[0]}"
                    )
                try:
                    pixels = fit_image(image, size, resize)
                except UserError as error:  # too small for a crop
                    raise UserError(f"{file}: {error}") from error
            except UserError as error:
                bad.append(f"{row.place}: {error}" if row.place else str(error))
                continue
            if images is None:
                images = np.zeros((len(rows), *pixels.shape), pixels.dtype)
            images[len(good)] = pixels
            good.append(row)
            hashes.append(sha256(file)[:HASH_LENGTH])
            changes.add(row.path, image, pixels, resize)
        images = (
            np.zeros((0, *(size or (1, 1)), channels), "uint8")
            if images is None
            else images[: len(good)]
        )
        labels = np.array([row.label for row in good], dtype="int32")
        paths = tuple(row.path for row in good)
        given = {}
        if (first := rows[0].vector if rows else None) is not None:
            vectors = np.array([row.vector for row in good], "float64")
            given[Vectors.name] = vectors.reshape(len(good), len(first))
        splits[name] = LabeledImages(images, labels, paths, tuple(hashes), given=given)
    notes = []
    if bad:
        first = first_ten(bad, "; ")
        if not skip_corrupted:
            count = f"{len(bad)} bad files. " * (len(bad) > 1)
            raise UserError(
                f"{count}{first}. Remove such files, or skip them with skip_corrupted=True "
                "(train --skip-corrupted)"
            )
        notes.append(f"Skipped {counted(len(bad), 'file')} that cannot be read: {first}.")
    found = changes.notes()
    found.pop(Changes.CENTER, None)  # this is what the user has asked for
    return splits, [
        *notes,
        *(f"{note} {ADVICE.get(kind, '')}".strip() for kind, note in found.items()),
    ]


def list_class_folders(folder: Path, unlabeled_others: bool) -> Listing:
    """Returns class names, files of each split (or `"all"`), and messages for the user."""
    folders_here = [path.name for path in _subfolders(folder)]
    names = named_splits(name for name in folders_here if name.lower() in SPLIT_NAMES)
    folders = {split: folder / name for split, name in names.items()} or {"all": folder}
    skipped = Counter()
    found = {split: _files_by_class(place, skipped) for split, place in folders.items()}
    # The classes are those of the training images, if there are any.
    first = [found[split] for split in ("train", "all") if split in found] or found.values()
    class_names = _in_order({name for by_class in first for name in by_class if by_class[name]})
    class_names = checked_class_names(class_names, len(class_names))
    listed = {}
    for split, place in folders.items():
        files = _labeled(place, found[split], class_names, unlabeled_others)
        # Images next to the class folders, or in a folder without class folders.
        others = [path for path in sorted(place.glob("[!.]*.*")) if _is_image(path)]
        if not files:
            files = [(path, -1) for path in others]
        elif others:
            skipped["next to the class folders"] += len(others)
        if not files:
            raise UserError(f"{place} has no image files ({', '.join(SUFFIXES)}) and no CSV file")
        listed[split] = [
            Listed(path.relative_to(folder).as_posix(), label, "") for path, label in files
        ]
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
    notes = [f"Files were skipped: {kinds}."] if skipped else []
    others_here = [name for name in folders_here if names and name not in names.values()]
    if others_here:
        notes.append(f"Skipped folders next to the splits: {', '.join(others_here)}.")
    return class_names, listed, notes


def _in_order(class_names: Iterable[str]) -> list[str]:
    """Sorts class names by the alphabet, or by their numbers if all are integers."""
    names = sorted(class_names)
    return sorted(names, key=int) if all(map(_INTEGER.fullmatch, names)) else names


def _files_by_class(folder: Path, skipped: Counter) -> dict[str, list[Path]]:
    """Returns the image files below each subfolder, by its name, and counts other files."""
    found = {}
    for subfolder in _subfolders(folder):
        files = visible_files(subfolder)
        found[subfolder.name] = [path for path in files if _is_image(path)]
        skipped.update(path.suffix or path.name for path in files if not _is_image(path))
    return found


def _labeled(
    folder: Path,
    by_class: dict[str, list[Path]],
    class_names: Sequence[str],
    unlabeled_others: bool,
) -> list[tuple[Path, int]]:
    labels = {name: label for label, name in enumerate(class_names)}
    for name, files in by_class.items():
        if files and name not in labels and not unlabeled_others:
            raise UserError(
                f"{folder / name}: the training split has no class {name!r}. "
                f"It has: {', '.join(class_names) or 'none'}"
            )
    return [(path, labels.get(name, -1)) for name, files in by_class.items() for path in files]


def _is_image(path: PurePath) -> bool:
    return path.suffix.lower() in SUFFIXES


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def visible_files(folder: Path) -> list[Path]:
    """Returns the sorted files below a folder, without hidden files and folders.

    Hidden names begin with a dot, such as `.ipynb_checkpoints`. They may be incomplete files or
    copies. Symbolic links are followed, but no folder is searched twice, because links may be
    circular.
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


def _list_csv_files(folder: Path, unlabeled_others: bool, vectors: Sequence[str] = ()) -> Listing:
    """Returns class names, files in the CSV file of each split, and messages for the user."""
    files = {path.stem: path.name for path in sorted(folder.glob("[!.]*.csv"))}
    order = list(SPLIT_NAMES.values())  # the training split first
    splits = named_splits(stem for stem in files if stem.lower() in SPLIT_NAMES)
    if not splits and len(files) == 1:
        splits = {"all": next(iter(files))}
    if not splits:
        raise UserError(
            f"{folder}: expected train.csv, or a single CSV file that lists the images. "
            f"Received: {', '.join(files.values())}"
        )
    found, unused = defaultdict(list), {}
    for split, stem in splits.items():
        for row_split, row in _list_csv(folder, files[stem], split, unused, vectors):
            found[row_split].append(row)
    listed = {split: found[split] for split in ("all", *dict.fromkeys(order)) if split in found}
    others = [name for stem, name in files.items() if stem not in splits.values()]
    notes = [f"Skipped other CSV files: {', '.join(others)}."] if others else []
    if unused:
        notes.append(f"Columns of CSV files that are not used: {', '.join(unused)}.")
    return *_with_labels(listed, unlabeled_others), notes


def _with_labels(
    listed: dict[str, list[Listed]], unlabeled_others: bool
) -> tuple[tuple[str, ...], dict[str, list[Listed]]]:
    """Returns class names, and the rows with integers instead of strings as labels."""
    rows = [row for of_split in listed.values() for row in of_split if row.label not in ("", "-1")]
    names = [row for row in rows if not _INTEGER.fullmatch(row.label)]
    known = {"": -1, "-1": -1}
    for row in filter(_is_decimal, names):
        raise UserError(
            f"{row.place}: expected an integer from 0, a name, or nothing for an unlabeled image. "
            f"Received: {row.label!r:.80}. In pandas: frame.label.astype('Int64')"
        )
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
        if row.label not in known and not unlabeled_others:
            raise UserError(f"{row.place}: the training split has no class {row.label!r:.80}")
    listed = {
        split: [row._replace(label=known.get(row.label, -1)) for row in of_split]
        for split, of_split in listed.items()
    }
    if not names:
        labels = {split: np.array([row.label for row in rows]) for split, rows in listed.items()}
        num_classes = count_classes(labels, lambda split, row: listed[split][row].place)
        class_names = checked_class_names(None, num_classes)
    return class_names, listed


def _is_decimal(row: Listed) -> bool:
    """Returns whether a label is a number that is no integer, such as 0.0 or nan."""
    try:
        return math.isfinite(float(row.label)) or row.label.lower() == "nan"
    except ValueError:
        return False


def _list_csv(
    folder: Path, name: str, split: str, unused: dict[str, None], vectors: Sequence[str]
) -> Iterator[tuple[str, Listed]]:
    """Yields the split and the content of each row of a CSV file, with strings as labels.

    The split is that of the row, or by default that of the file. Adds names of columns to `unused`.
    """
    lines, rows, splits = _lines(folder, name), [], []
    names, has_header = _columns(*lines[0], vectors) if lines else ([], True)
    for place, fields in lines[has_header:]:
        if len(fields) != len(names):
            raise UserError(f"{place}: expected {len(names)} columns, found {len(fields)}")
        row = dict(zip(names, fields, strict=True))
        vector = _vector([row[name] for name in vectors], place) if vectors else None
        rows.append(Listed(row["path"], row.get("label", ""), place, vector))
        splits.append(_named_split(row["split"], place) if "split" in row else split)
    if not rows:
        raise UserError(f"{folder / name} lists no image")
    place = _place_of(folder, Path(name).stem, [row.path for row in rows])
    below = place.relative_to(folder).as_posix()
    for of_row, row in zip(splits, rows, strict=True):
        yield of_row, row if below == "." else row._replace(path=f"{below}/{row.path}")
    header = zip(lines[0][1], names, strict=True)
    unused |= dict.fromkeys(given for given, name in header if name not in _used(vectors))


def _lines(folder: Path, name: str) -> list[tuple[str, list[str]]]:
    """Returns the place and the fields of each line of a CSV file."""
    file = folder / name
    try:
        # utf-8-sig, because spreadsheet programs write a byte order mark.
        with file_inside(folder, name).open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened)
            return [
                (f"{file} row {reader.line_num}", [field.strip() for field in fields])
                for fields in reader
                if fields
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as a CSV file: {error}") from error


def _named_split(given: str, place: str) -> str:
    """Returns the split that a row gives."""
    if given.lower() not in SPLIT_NAMES:
        known = ", ".join(SPLIT_NAMES)
        raise UserError(f"{place}: split {given!r:.80} is unknown. Expected one of: {known}")
    return SPLIT_NAMES[given.lower()]


def _vector(texts: list[str], place: str) -> tuple[float, ...]:
    """Returns the numbers in the columns of `vectors`."""
    try:
        vector = tuple(map(float, texts))
    except ValueError:
        vector = (math.nan,)
    if not all(map(math.isfinite, vector)):
        raise UserError(f"{place}: expected finite numbers. Received: {','.join(texts)!r:.80}")
    return vector


def _columns(place: str, fields: list[str], vectors: Sequence[str] = ()) -> tuple[list[str], bool]:
    """Returns names of columns, such as `path`, `label` and `split`, and whether a line has them.

    Columns with another accepted name get one of these names.
    """
    if _is_image(PurePosixPath(fields[0])) and len(fields) <= 2 and not vectors:
        return ["path", "label"][: len(fields)], False
    names, lower = list(fields), [n.lower() if n not in vectors else "" for n in fields]
    for name, accepted in COLUMNS.items():
        if (known := next((one for one in accepted if one in lower), None)) is not None:
            names[lower.index(known)] = name
    if missing := {*vectors} - {*names}:
        raise UserError(
            f"{place}: expected a header with the column {', '.join(sorted(missing))}. "
            f"Received: {','.join(fields)!r:.200}"
        )
    repeated = {name for name in names if names.count(name) > 1}
    if repeated := sorted(repeated & _used(vectors)):
        raise UserError(f"{place}: expected one column for each of: {', '.join(repeated)}")
    has_labels = "label" in names or vectors or {*lower} <= {*COLUMNS["path"], "split"}
    if "path" not in names or not has_labels:
        paths, labels = (" or ".join(COLUMNS[name]) for name in ("path", "label"))
        raise UserError(
            f"{place}: expected path,label, or a header with a column {paths} and a column "
            f"{labels}. Paths need extensions such as .png. Received: {','.join(fields)!r:.200}. A "
            "folder must not contain a CSV file that doesn't list images."
        )
    return names, True


def _used(vectors: Sequence[str]) -> set[str]:
    """Returns the names of the columns that are read."""
    return {"path", "split", "label", *vectors}


def _place_of(folder: Path, stem: str, paths: list[str]) -> Path:
    """Returns the folder of the paths: the given one, that of the split, or its only subfolder."""
    for place in (folder, folder / stem):
        if _has_any(place, paths):
            return place
    below = [place for place in _subfolders(folder) if _has_any(place, paths)]
    return below[0] if len(below) == 1 else folder


def _has_any(folder: Path, paths: list[str]) -> bool:
    for path in paths[:100]:
        with suppress(UserError):
            return bool(file_inside(folder, path))
    return False


def file_inside(folder: Path, path: str) -> Path:
    """Returns the file at an untrusted relative path, which must be inside `folder`."""
    relative = relative_path(path)
    with suppress(OSError, ValueError):  # a name that is too long, or holds a null byte
        if (folder / relative).is_file():
            return folder / relative
    raise UserError(f"{path!r}: no such file")
