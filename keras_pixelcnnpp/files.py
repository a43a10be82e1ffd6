"""Writing files and folders so that a reader never sees half of one."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_pixelcnnpp.errors import DiskFullError, UserError, is_disk_full

# Names that nobody else gives: what bears one may be removed.
_TEMPORARY_NAME = re.compile(
    r"\.(?P<name>.+)\.(?P<pid>\d{1,9})\.pixelcnnpp-(?P<kind>new|old)(\..+)?"
)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path; what is written there replaces `path` when the block succeeds.

    The temporary name keeps the endings (Keras insists on `.keras` and `.weights.h5`) and lies in
    the same folder, so that the replacement is one rename. When the block raises, `path` is left as
    it was. What killed processes have left in the folder is removed.

    Args:
        path: The file or folder to write. Missing parent folders are made.

    Yields:
        The path to write to; it does not exist yet.

    Raises:
        DiskFullError: if there is no room for it.

    Example:

    ```python
    with atomic_path("runs/digits/model.keras") as temporary:
        model.save(temporary)
    ```
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    endings = "".join(path.suffixes)
    stem = path.name.removesuffix(endings)
    temporary = path.with_name(f".{stem}.{os.getpid()}.pixelcnnpp-new{endings}")
    _remove(temporary)  # of a killed process that had the same number
    try:
        yield temporary
        _flush(temporary)
        if temporary.is_dir():
            _replace_folder(temporary, path)
        else:
            temporary.replace(path)
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(
            f"{path} was not written: no space left on the disk. What was there before is kept."
        ) from error
    finally:
        _remove(temporary)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes what a file shall hold, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, content: object) -> None:
    """Writes `content` as indented JSON, atomically. NaN is refused: it is not JSON."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def remove_leftovers(folder: str | Path) -> None:
    """Removes what processes that were killed while they wrote left in a folder.

    A folder that was to be replaced, and was caught between the two renames, is put back.

    Args:
        folder: Where to look; not in the folders within.
    """
    for path in Path(folder).glob(".*"):
        match = _TEMPORARY_NAME.fullmatch(path.name)
        if match is None or _is_running(int(match["pid"])):
            continue
        replaced = path.with_name(match["name"])
        # Another process may tidy up at the same time.
        with suppress(FileNotFoundError):
            if match["kind"] == "old" and not replaced.exists():
                path.rename(replaced)
            else:
                _remove(path)


def _is_running(pid: int) -> bool:
    # Elsewhere, asking a process whether it is there ends it.
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(path: Path) -> None:
    for file in [path, *path.rglob("*")]:
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def _replace_folder(temporary: Path, path: Path) -> None:
    # A folder cannot be renamed over one that has content: the old one steps aside first.
    old = path.with_name(f".{path.name}.{os.getpid()}.pixelcnnpp-old")
    _remove(old)
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
