"""Atomic writing of files and folders; CSV, JSON, headers of arrays, file names, checksums."""

import csv
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from keras_pixelcnnpp.errors import UserError, one_line

# Only this package uses this prefix, so files with it may be removed.
_PREFIX = ".pixelcnnpp-"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Context manager that yields a temporary path, and replaces `path` by it on success.

    The block creates a file or a folder at the temporary path. Missing parents of `path` are
    created. The temporary path has the same name (Keras requires `.keras` and `.weights.h5`) in a
    hidden folder next to `path`, so that the replacement is a single rename. If the block raises an
    error, `path` does not change. `remove_leftovers` removes the files of killed processes. An
    `OSError` without a file name, such as that of a full disk, gets the name of `path`.
    """
    path = Path(path)
    # Otherwise, a local folder `s3:` would be created.
    if re.match(r"[A-Za-z][\w+.-]+:/", str(path)):
        raise UserError(f"Expected a local path to write to. Received: {path}, a URL")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(
            f"Expected a file or folder to write to. Received: {path}, a pipe or device"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as folder:
        temporary = Path(folder, path.name)
        try:
            yield temporary
            _flush(temporary)
        except OSError as error:
            error.filename = error.filename or str(path)
            raise
        # A folder can't be renamed over a non-empty folder, so the old one is moved first.
        if temporary.is_dir() and path.exists():
            path.rename(temporary.with_name(f"{path.name}.old"))
        temporary.replace(path)


def _flush(path: Path) -> None:
    for file in [path, *path.rglob("*")]:
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes the content of a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def remove_leftovers(folder: str | Path) -> None:
    """Removes the temporary files of killed processes from a folder, but not from subfolders.

    No other process may write to the folder at this time.
    """
    for leftover in Path(folder).glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def write_json(path: str | Path, content: object) -> None:
    """Writes `content` as indented JSON atomically. NaN, which JSON lacks, raises an error."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: str | Path) -> dict:
    """Returns the JSON object in a file, or raises a `UserError`."""
    path = Path(path)
    try:
        # Only regular files, because opening a pipe would block.
        if path.exists() and not (path.is_file() and path.stat().st_size <= 64 << 20):
            raise ValueError("expected a file of at most 64 MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    # Invalid UTF-8 or JSON, numbers with thousands of digits, deeply nested brackets.
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {one_line(error)}") from error
    return content


def array_headers(archive: zipfile.ZipFile) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Returns shape and dtype of each array in an `.npz` archive by name, without its values.

    Raises a `ValueError` unless the values have the size that the header declares, since NumPy
    allocates this size before it reads them.
    """
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    headers = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        with archive.open(entry) as file:
            version = npy.read_magic(file)
            if version not in readers:
                raise ValueError(f"{name} has the unsupported format {version}")
            shape, _, dtype = readers[version](file)
            declared, there = math.prod(shape) * dtype.itemsize, entry.file_size - file.tell()
        if dtype.itemsize == 0:
            raise ValueError(f"{name} has {math.prod(shape):,} values of 0 bytes")
        if declared != there and not dtype.hasobject:  # NumPy does not read objects
            raise ValueError(f"{name} should have {declared:,} bytes. It has {there:,}")
        headers[name] = shape, dtype
    return headers


def safe_names(class_names: Sequence[str]) -> list[str]:
    """Converts class names to different names that are valid in file names.

    Special characters become `_`. If two names are then equal, ignoring case, the number of each
    class is appended to its name.
    """
    names = [re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", name) for name in class_names]
    if len({name.casefold() for name in names}) == len(names):
        return names
    return [f"{name}_{label}" for label, name in enumerate(names)]


def class_numbers(class_names: Sequence[str]) -> dict[str, int]:
    """Returns the label of each class by its name, and by its name in file names."""
    by_safe_name = {name: label for label, name in enumerate(safe_names(class_names))}
    return by_safe_name | {name: label for label, name in enumerate(class_names)}


def counted(number: int, noun: str = "image") -> str:
    """Returns a number with its noun, such as `"1 image"` or `"1,000 images"`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def sha256(path: str | Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_predictions(
    path: str | Path,
    images: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    bits_per_dim: Sequence[float] | None = None,
    trained_on: np.ndarray | None = None,
) -> None:
    """Writes class probabilities of images to a CSV file, atomically.

    The columns are `path,label,label_name,predicted,predicted_name,p_0,p_1,…`, and `bits_per_dim`
    and `trained_on` (1 or 0) if they are given. The label is -1 if it is unknown.
    """
    header = ["path", "label", "label_name", "predicted", "predicted_name"]
    header += [f"p_{label}" for label in range(len(class_names))]
    numbers = np.asarray(probabilities)
    if bits_per_dim is not None:
        header, numbers = [*header, "bits_per_dim"], np.column_stack([numbers, bits_per_dim])
    rows, predicted = [header], np.argmax(probabilities, axis=1)
    for image, label, best, row in zip(images, labels, predicted, numbers, strict=True):
        named = [label, class_names[label] if label >= 0 else ""]
        rows.append([image, *named, best, class_names[best], *(f"{p:.6g}" for p in row)])
    if trained_on is not None:
        column = ["trained_on", *trained_on.astype(int).tolist()]
        rows = [[*row, value] for row, value in zip(rows, column, strict=True)]
    write_csv(path, rows)


def write_csv(path: str | Path, rows: Iterable[Sequence]) -> None:
    """Writes rows to a CSV file, atomically."""
    # Bytes in file names that are not valid UTF-8 are written unchanged.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file).writerows(rows)
