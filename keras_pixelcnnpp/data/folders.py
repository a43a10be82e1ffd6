"""Folders of picture files: a folder for each class, or CSV files that list them (the course's).

Folders and what is written in them may come from anybody: no path leads out of the folder.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from keras_pixelcnnpp.data.dataset import (
    SPLIT_NAMES,
    Dataset,
    LabelledImages,
    count_classes,
    named_splits,
    with_validation,
)
from keras_pixelcnnpp.data.images import SUFFIXES, fit_image, open_image
from keras_pixelcnnpp.errors import UserError

SPLITS = ("train", "validation", "test")

# How many bad files an error names.
NAMED = 10


@dataclass(frozen=True)
class Listed:
    """A picture file that is listed and not read yet.

    Args:
        path: Below the folder, with forward slashes.
        label: -1 for unlabeled.
        place: Where it is listed, for messages.
    """

    path: str
    label: int
    place: str


@dataclass(frozen=True)
class PictureReader:
    """Reads the picture files of all splits.

    Args:
        image_shape: Triple of integers `(height, width, channels)` to convert the pictures to.
        resize: `"crop"` or `"squeeze"`, as in `fit_image`.
        skip_bad_files: Whether to go on without the files that can't be read.
        wanted: The splits whose pictures are needed, others may be left empty; `None` for all.
    """

    image_shape: tuple[int, int, int]
    resize: str = "crop"
    skip_bad_files: bool = False
    wanted: Collection[str] | None = None

    def read(
        self, folder: Path, listed: dict[str, list[Listed]]
    ) -> tuple[dict[str, LabelledImages], tuple[str, ...]]:
        """Returns the pictures of each split, and lines for the user.

        Raises:
            UserError: If files can't be read; the message names the first ten and their places.
        """
        wanted = set(listed if self.wanted is None else self.wanted)
        if "validation" not in listed:
            wanted.add("train")  # of which the splits that aren't listed will be made
        bad, reshaped, splits = [], [], {}
        for name, rows in listed.items():
            splits[name] = self._split(folder, rows if name in wanted else [], bad, reshaped)
        notes = []
        if bad:
            first = "; ".join(bad[:NAMED]) + f"; and {len(bad) - NAMED} more" * (len(bad) > NAMED)
            if not self.skip_bad_files:
                named = first if len(bad) == 1 else f"{len(bad)} bad files. {first}"
                raise UserError(f"{named} (skip_bad_files leaves such files out)")
            notes.append(f"Files that cannot be read were left out, {len(bad)}: {first}.")
        if reshaped:
            height, width, _ = self.image_shape
            done = "cropped in the middle" if self.resize == "crop" else "squeezed"
            notes.append(
                f"Pictures of another shape than {width}×{height} were {done}: {len(reshaped)}."
            )
        return splits, tuple(notes)

    def _split(self, folder, rows, bad, reshaped):
        """Returns the pictures; adds bad files to `bad`, those of another shape to `reshaped`."""
        # Takes seconds to import, which arrays and the reports of a run need not wait for.
        from keras_pixelcnnpp.backend import progress

        height, width, channels = self.image_shape
        images = np.zeros((len(rows), *self.image_shape), dtype="uint8")
        good, tick = [], progress(len(rows), unit="file")
        for index, row in enumerate(rows):
            tick()
            try:
                image = open_image(file_inside(folder, row.path), channels)
            except UserError as error:
                bad.append(f"{row.place}: {error}")
                continue
            images[index] = fit_image(image, (height, width), self.resize)
            good.append(index)
            if image.width * height != image.height * width:
                reshaped.append(row)
        return LabelledImages(
            images if len(good) == len(rows) else images[good],
            np.array([rows[index].label for index in good], dtype="int32"),
            tuple(rows[index].path for index in good),
        )


def load_class_folders(folder: Path, reader: PictureReader, seed: int = 0) -> Dataset:
    """Loads `train/burger/*.jpg`, `validation/burger/*.jpg`, … or just `burger/*.jpg`, ….

    The classes are the folders of the training split in alphabetical order. PNG and JPEG files
    below a class folder count, at any depth. The folder `test` may hold pictures directly: they are
    unlabeled. Without a validation folder, a tenth of the training pictures becomes that split;
    without any split folder, 80 % of each class become `train`, 10 % `validation`, 10 % `test`.

    Args:
        folder: The folder.
        reader: What becomes of the files.
        seed: Integer, chooses the pictures of splits that aren't there.

    Returns:
        `Dataset` with 256 levels.

    Raises:
        UserError: If the folders don't fit together or a picture is bad; the message names it.
    """
    there = (name for name in SPLIT_NAMES if (folder / name).is_dir())
    folders = {split: folder / name for split, name in named_splits(there, folder).items()}
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
    listed = {
        name: _list_split(folder, path, class_names, name, skipped)
        for name, path in (folders or {"train": folder}).items()
    }
    splits, notes = reader.read(folder, listed)
    splits, more = with_validation(splits, seed) if folders else _split_in_three(splits, seed)
    notes = (*more, *notes)
    # Pictures beside the folders of the classes have none.
    beside = sum(len(_pictures(path, "*", Counter())) for path in {folder, *folders.values()})
    beside -= sum(row.label < 0 for rows in listed.values() for row in rows)
    if beside:
        notes = (*notes, f"Pictures beside the folders of the classes were skipped: {beside}.")
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


def _list_split(root, folder, class_names, split, skipped):
    listed = []
    for subfolder in _subfolders(root, folder):
        if subfolder.name not in class_names:
            raise UserError(
                f"{subfolder}: the training split has no class {subfolder.name!r}. "
                f"It has: {', '.join(class_names)}"
            )
        files = _pictures(subfolder, "**/*", skipped)
        if split == "train" and not files:
            raise UserError(f"{subfolder} holds no PNG or JPEG file")
        listed += [(file, class_names.index(subfolder.name)) for file in files]
    if split == "test" and not listed:
        listed = [(file, -1) for file in _pictures(folder, "*", skipped)]
    if not listed:
        raise UserError(f"{folder} holds no PNG or JPEG file")
    return [
        Listed(file.relative_to(root).as_posix(), label, f"Split {split}") for file, label in listed
    ]


def _subfolders(root, folder):
    found = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    for path in found:
        # Before it is searched: a link may lead to the root of the file system.
        if not path.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{path} leads out of the folder")
    return found


def visible_files(folder: Path, pattern: str = "**/*") -> list[Path]:
    """The files below a folder, sorted, without hidden ones: they may be half written, or copies.

    Hidden is what begins with a dot, and what lies in a folder that does, such as
    `.ipynb_checkpoints`.
    """
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _pictures(folder, pattern, skipped):
    """Returns the picture files below a folder, and counts the others in `skipped`."""
    files = visible_files(folder, pattern)
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    skipped.update(
        path.suffix or path.name for path in files if path.suffix.lower() not in SUFFIXES
    )
    return pictures


def _split_in_three(splits, seed):
    rest, held_out = splits["train"].hold_out(0.2, seed)
    validation, test = held_out.hold_out(0.5, seed)
    note = (
        "No folders train, validation and test: every class was split 80/10/10 into them "
        f"(seed {seed})."
    )
    return {"train": rest, "validation": validation, "test": test}, (note,)


def is_course_folder(folder: Path) -> bool:
    """Returns whether `folder` holds one of the layout's CSV files."""
    return any((folder / f"{split}.csv").exists() for split in SPLITS)


def load_course_folder(folder: Path, reader: PictureReader, seed: int = 0) -> Dataset:
    """Loads a folder whose CSV files list pictures: rows `path,label` without a header.

    Paths are relative to the folder and stay in it. Labels count from 0; -1 means unlabeled. The
    classes are called `Class0`, `Class1`, … `validation.csv` and `test.csv` may be missing: a tenth
    of the training pictures then becomes the validation split, and there is no test split.

    Args:
        folder: The folder.
        reader: What becomes of the files.
        seed: Integer, chooses the pictures of a validation split that isn't there.

    Returns:
        `Dataset` with 256 levels.

    Raises:
        UserError: If a file, a row or a picture is bad; the message names it.
    """
    if not (folder / "train.csv").is_file():
        raise UserError(f"{folder}: train.csv is missing")
    listed = {
        split: _list_csv(folder, f"{split}.csv")
        for split in SPLITS
        if (folder / f"{split}.csv").exists()
    }
    _refuse_duplicates(row for rows in listed.values() for row in rows)
    labels = {split: np.array([row.label for row in rows]) for split, rows in listed.items()}
    num_classes = count_classes(labels, lambda split, row: listed[split][row].place)
    splits, notes = reader.read(folder, listed)
    splits, more = with_validation(splits, seed)
    names = tuple(f"Class{index}" for index in range(num_classes))
    return Dataset(folder.resolve().name, names, 256, splits, (*more, *notes))


def _list_csv(folder, name):
    rows = []
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
        raise UserError(f"{folder / name} lists no picture")
    return rows


def _parse(place, fields):
    if len(fields) != 2:
        raise UserError(f"{place}: expected path,label; found {len(fields)} columns")
    path, label = (field.strip() for field in fields)
    # Not int(): it takes "1_0" and digits of other scripts. Nine digits fit an int32.
    if not re.fullmatch(r"-?[0-9]{1,9}", label):
        raise UserError(f"{place}: label {label!r} is not an integer (the file has no header)")
    return Listed(path, int(label), place)


def _refuse_duplicates(rows):
    seen = {}
    for row in rows:
        # Without "./" and doubled slashes.
        path = PurePosixPath(row.path)
        if path in seen:
            raise UserError(f"{row.place}: {row.path!r} was listed before, {seen[path]}")
        seen[path] = row.place


def file_inside(folder: Path, path: str) -> Path:
    """Returns the file that `path`, relative to `folder`, leads to.

    Args:
        folder: The folder of the data.
        path: String with forward slashes, from a file that anybody may have written.

    Returns:
        The resolved path.

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
