"""Writing files and folders so that a reader never sees half of one; CSV, JSON, names, hashes."""

import csv
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.errors import UserError, one_line

# A name that nobody else gives: what bears it may be removed.
_PREFIX = ".pixelcnnpp-"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path; what is written there replaces `path` when the block succeeds.

    It is a file or a folder, and does not exist yet; missing parents of `path` are made. It has the
    same name (Keras insists on `.keras` and `.weights.h5`) in a hidden folder beside `path`, so
    that the replacement is one rename. When the block raises, `path` is left as it was. What a
    process leaves that is killed, `remove_leftovers` removes.
    """
    path = Path(path)
    # A folder `s3:` would be made here, and whoever looks into the bucket would find nothing.
    if re.match(r"[A-Za-z][\w+.-]+:/", str(path)):
        raise UserError(
            f"Nothing can be written to a URL. Expected a path of this machine. Received: {path}"
        )
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(
            f"Expected a file or folder to write to. Received: {path}, a pipe or device"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as folder:
        temporary = Path(folder, path.name)
        yield temporary
        _flush(temporary)
        # A folder cannot be renamed over one that has content: the old one steps aside first.
        if temporary.is_dir() and path.exists():
            path.rename(temporary.with_name(f"{path.name}.old"))
        temporary.replace(path)


def _flush(path: Path) -> None:
    for file in [path, *path.rglob("*")]:
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes what a file shall hold, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def remove_leftovers(folder: str | Path) -> None:
    """Removes what processes that were killed while they wrote left in a folder.

    It is for whoever alone writes to that folder; the folders within are left alone.
    """
    for leftover in Path(folder).glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def write_json(path: str | Path, content: object) -> None:
    """Writes `content` as indented JSON, atomically. NaN is refused: it is not JSON."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: str | Path) -> dict:
    """Returns the JSON object in a file; raises a `UserError` if it can't be read or has none."""
    path = Path(path)
    try:
        # Opening a pipe would wait for ever. A configuration has a few kilobytes.
        if path.exists() and not (path.is_file() and path.stat().st_size <= 64 << 20):
            raise ValueError("expected a file of at most 64 MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    # Bad UTF-8, bad JSON, numbers of thousands of digits; brackets within brackets.
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {one_line(error)}") from error
    return content


def safe_names(class_names: Sequence[str]) -> list[str]:
    """The classes' names as parts of file names, each another.

    What could lead to another folder becomes `_`. Where two names would then be the same, or would
    be on a disk that takes `a` for `A`, each class's number is put behind its name.
    """
    names = [re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", name) for name in class_names]
    if len({name.casefold() for name in names}) == len(names):
        return names
    return [f"{name}_{label}" for label, name in enumerate(names)]


def counted(number: int, noun: str = "image") -> str:
    """`"1 image"`, `"1,000 images"`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def sha256(path: str | Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_predictions(
    path: str | Path,
    images: Sequence[str],
    labels: Sequence[int],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    bits_per_dim: Sequence[float] | None = None,
) -> None:
    """Writes `path,label,label_name,predicted,predicted_name,p_0,p_1,…` with a header, atomically.

    Args:
        path: The CSV file to write.
        images: The name of each image.
        labels: The true class of each image; -1, without a name, where it is not known.
        probabilities: float `[count, num_classes]`. `predicted` is the class of the largest.
        class_names: The name of each class.
        bits_per_dim: Of each image, for one more column behind the others; or `None`.
    """
    header = ["path", "label", "label_name", "predicted", "predicted_name"]
    header += [f"p_{label}" for label in range(len(class_names))]
    numbers = np.asarray(probabilities)
    if bits_per_dim is not None:
        header, numbers = [*header, "bits_per_dim"], np.column_stack([numbers, bits_per_dim])
    # A file's name may hold bytes that are no text: they are written as they are.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        predicted = np.argmax(probabilities, axis=1)
        for image, label, best, row in zip(images, labels, predicted, numbers, strict=True):
            named = [label, class_names[label] if label >= 0 else ""]
            writer.writerow([image, *named, best, class_names[best], *(f"{p:.6g}" for p in row)])
