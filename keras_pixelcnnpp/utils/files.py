"""Writing of files by one rule; CSV, JSON, archives of arrays, file names and checksums.

The rule holds for all that the package writes, so that nothing of the user is lost:

- Files and folders are written completely in a hidden folder next to their place, flushed to the
  disk, and renamed. Existing files are removed only then. (`atomic_path`, `atomic_files`)
- A command replaces a file that its options name, and that is there already, only with
  `--overwrite` (`OverwriteOptions`), and never replaces its own input (`require_no_input`, both in
  `commands/helpers.py`).
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, TextIO

import numpy as np

from keras_pixelcnnpp.utils.errors import UserError, one_line

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
    _require_no_device(path)
    with atomic_files(path.parent) as folder:
        try:
            yield folder / path.name
        except OSError as error:
            error.filename = error.filename or str(path)
            raise


@contextmanager
def atomic_files(folder: str | Path, earlier: Iterable[str] = ()) -> Iterator[Path]:
    """Context manager that yields a temporary folder, and moves its content to `folder` on success.

    This replaces files and folders of the same names, each by a single rename, after all new ones
    are complete. Then other files in `folder` that match the patterns `earlier`, those of an
    earlier result, are deleted. If the block raises an error, `folder` does not change.
    """
    folder = Path(folder)
    # Otherwise, a local folder `s3:` would be created.
    if re.match(r"[A-Za-z][\w+.-]+:/", str(folder)):
        raise UserError(f"Expected a local path to write to. Received: {folder}, a URL")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as name:
        temporary = Path(name)
        try:
            yield temporary
            _flush(temporary)
        except OSError as error:
            error.filename = error.filename or str(folder)
            raise
        written = [*temporary.iterdir()]
        left = {path for pattern in earlier for path in folder.glob(pattern)}
        for path in written:
            _replace(path, folder / path.name)
        for path in left - {folder / path.name for path in written}:
            path.unlink()


def _replace(new: Path, path: Path) -> None:
    _require_no_device(path)
    if not (new.is_dir() and path.exists()):
        new.replace(path)
        return
    # A folder can't be renamed over a non-empty folder, so the old one is moved first.
    old = new.with_name(f"{_PREFIX}{path.name}")
    path.rename(old)
    try:
        new.replace(path)
    except OSError:
        old.rename(path)
        raise


def _require_no_device(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(
            f"Expected a file or folder to write to. Received: {path}, a pipe or device"
        )


def _flush(path: Path) -> None:
    for file in path.rglob("*"):
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
    # A name of a file need not be UTF-8; its other bytes become escapes of JSON.
    write_bytes(path, f"{text}\n".encode(errors="backslashreplace"))


def read_json(path: str | Path, kind: type = dict) -> Any:
    """Returns the JSON object, or the value of another kind, in a file; else a `UserError`."""
    path = Path(path)
    try:
        # Only regular files, because opening a pipe would block.
        if path.exists() and not (path.is_file() and path.stat().st_size <= 64 << 20):
            raise ValueError("expected a file of at most 64 MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, kind):
            raise ValueError(f"expected a JSON {'object' if kind is dict else kind.__name__}")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    # Invalid UTF-8 or JSON, numbers with thousands of digits, deeply nested brackets.
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {one_line(error)}") from error
    return content


def read_arrays(file: IO[bytes]) -> Mapping[str, np.ndarray]:
    """Returns the arrays of an open `.npz` archive by name, each read when it is used.

    Raises a `ValueError` if it unpacks to more than 256 MiB and 100 times its size, which is the
    limit of Keras's archives; images are not compressed to a hundredth. An array of Python objects
    raises one, too.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    archive = np.load(file, allow_pickle=False)
    unpacked = sum(entry.file_size for entry in archive.zip.infolist())
    if unpacked > max(256 << 20, 100 * size):
        raise ValueError(f"{size} bytes would unpack to {unpacked}")
    return archive


def read_array(path: Path) -> np.ndarray:
    """Returns the array of numbers in an `.npy` file; `UserError` if it cannot be read."""
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an .npy file: {one_line(error)}") from error


def npy_bytes(array: np.ndarray) -> bytes:
    """Returns the content of an `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def safe_names(class_names: Sequence[str]) -> list[str]:
    """Converts class names to different names that are valid in file names.

    Special characters, and those that are not printable, become `_`. If two names are then equal,
    ignoring case, the number of each class is appended to its name.
    """
    names = [
        "".join("_" if c in '\\/:*?"<>|' or not c.isprintable() else c for c in name)
        for name in class_names
    ]
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
        rows.append([image, *named, best, class_names[best], *(str(float(p)) for p in row)])
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
        write_cells(file, rows)


# A spreadsheet takes a text with such a beginning for a formula, which may run programs.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = r"[-+](\d+(\.\d+)?(e[-+]\d+)?|inf)"


def write_cells(file: TextIO, rows: Iterable[Sequence]) -> None:
    """Writes rows to an open CSV file.

    Texts that a spreadsheet would take for a formula get an apostrophe at the beginning, and so do
    those that begin with one, so that `read_cells` finds the texts as they were.
    """
    csv.writer(file).writerows([_no_formula(str(cell)) for cell in row] for row in rows)


def _no_formula(text: str) -> str:
    is_text = text.startswith((*_FORMULA, "'")) and not re.fullmatch(_NUMBER, text)
    return f"'{text}" if is_text else text


def read_cells(file: TextIO) -> list[list[str]]:
    """Returns the rows of an open CSV file that `write_cells` has written, as they were."""
    return [[cell.removeprefix("'") for cell in row] for row in csv.reader(file)]


def relative_path(name: str) -> PurePosixPath:
    r"""Returns an untrusted relative path, after checking that it does not lead out of a folder.

    The rules are those of POSIX and of Windows, where `C:x` and `..\x` lead out, too. Links are not
    followed. Raises a `UserError`.
    """
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    if path.is_absolute() or windows.anchor or ".." in (*path.parts, *windows.parts):
        raise UserError(
            "Expected a path below the folder, without '..' and without a drive such as 'C:'. "
            f"Received: {name!r:.200}"
        )
    return path
