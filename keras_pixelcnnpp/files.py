"""Writing files and folders so that a reader never sees half of one; JSON; names; checksums."""

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from keras_pixelcnnpp.errors import DiskFullError, UserError, is_disk_full

try:
    import fcntl
except ImportError:  # Windows, where what killed processes leave stays
    fcntl = None

# A name that nobody else gives: what bears it may be removed.
_PREFIX = ".pixelcnnpp-"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path; what is written there replaces `path` when the block succeeds.

    The temporary path has the same name (Keras insists on `.keras` and `.weights.h5`) in a hidden
    folder beside `path`, so that the replacement is one rename. When the block raises, `path` is
    left as it was. The first time that a process writes to a folder, what killed processes left
    there is removed.

    Args:
        path: The file or folder to write. Missing parent folders are made.

    Yields:
        The path to write to; it does not exist yet.

    Raises:
        DiskFullError: if there is no room for it.
        UserError: if it is a URL.

    Example:

    ```python
    with atomic_path("runs/digits/model.keras") as temporary:
        model.save(temporary)
    ```
    """
    path = local_path(Path(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy_once(path.parent.absolute())
    try:
        with _temporary_folder(path.parent) as folder:
            temporary = folder / "new" / path.name
            yield temporary
            _flush(temporary)
            # A folder cannot be renamed over one that has content: the old one steps aside first.
            if temporary.is_dir() and path.exists():
                path.rename(folder / "old" / path.name)
            temporary.replace(path)
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(
            f"{path} was not written: no space left on the disk. What was there before is kept."
        ) from error


def local_path(path: Path) -> Path:
    """Returns the path, or raises a `UserError` if it is a URL."""
    # It would become a folder `s3:` here, and who looks into the bucket finds nothing.
    start = path.parts[0] if path.parts else ""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", start) and not Path(start).exists():
        raise UserError(
            "Nothing can be written to a URL. Expected a path of this machine, such as that of a "
            f"bucket that is mounted. Received: {start}//{Path(*path.parts[1:])}"
        )
    return path


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes what a file shall hold, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def remove_leftovers(folder: str | Path) -> None:
    """Removes what processes that were killed while they wrote left in a folder.

    A folder that was to be replaced, and was caught between the two renames, is put back. Processes
    that still write hold a lock, in other containers and on other machines too; where a disk has no
    locks, nothing is removed.

    Args:
        folder: Where to look; not in the folders within.
    """
    for leftover in Path(folder).glob(f"{_PREFIX}*"):
        # Another process may tidy up at the same time, or still write.
        with suppress(OSError), _locked(leftover, wait=False):
            _remove_temporary(leftover)


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Holds the lock of a folder, which the system takes back when the process ends.

    Raises:
        OSError: if there is no such folder, somebody holds the lock, or there are no locks.
    """
    if fcntl is None:
        raise OSError("no locks")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


@functools.cache
def _tidy_once(folder: Path) -> None:
    # For every file it would take time quadratic in the parts of a large job.
    remove_leftovers(folder)


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder with `new/` and `old/`, whose lock is held as long as this process writes."""
    with ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            with suppress(OSError):  # some network drives have no locks
                stack.enter_context(_locked(folder, wait=True))
            # Somebody who tidied up may have been quicker than the lock.
            if folder.exists():
                break
        try:
            (folder / "new").mkdir()
            (folder / "old").mkdir()
            yield folder
        finally:
            _remove_temporary(folder)


def _remove_temporary(folder: Path) -> None:
    for old in (folder / "old").glob("*"):
        if not (folder.parent / old.name).exists():
            old.rename(folder.parent / old.name)
    shutil.rmtree(folder)


def _flush(path: Path) -> None:
    for file in [path, *path.rglob("*")]:
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def write_json(path: str | Path, content: object) -> None:
    """Writes `content` as indented JSON, atomically. NaN is refused: it is not JSON."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


# A configuration has a few kilobytes.
_MAX_BYTES = 64 << 20


def read_json(path: str | Path) -> dict:
    """Returns the JSON object in a file.

    Args:
        path: The file.

    Raises:
        UserError: if it can't be read, or holds anything but a JSON object; the message names it.

    Example:

    ```python
    read_json("runs/digits/config.json")["data"]
    ```
    """
    path = Path(path)
    try:
        # Opening a pipe would wait for ever.
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a file")
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path} is damaged: too large for a configuration")
        content = json.loads(path.read_text(encoding="utf-8"))
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    # Bad UTF-8, bad JSON, numbers of thousands of digits; brackets within brackets.
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: expected a JSON object")
    return content


def safe_names(class_names: Sequence[str]) -> list[str]:
    """The classes' names as parts of file names, each another.

    What could lead to another folder becomes `_`. Where two names would then be the same, or would
    be on a disk that takes `a` for `A`, each class's number is put behind its name.

    Args:
        class_names: All names that stand side by side.

    Example:

    ```python
    safe_names(["cat", "../dog"])   # ["cat", ".._dog"]
    safe_names(["?", "/"])          # ["__0", "__1"]
    ```
    """
    names = [re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", name) for name in class_names]
    if len({name.casefold() for name in names}) == len(names):
        return names
    return [f"{name}_{label}" for label, name in enumerate(names)]


def sha256(path: str | Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
