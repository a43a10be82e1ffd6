"""Writing files and folders so that a reader never sees half of one."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path; what is written there replaces `path` when the block succeeds.

    The temporary name keeps the suffix (Keras insists on `.keras`) and lies in the same folder, so
    that the replacement is one rename. When the block raises, `path` is left as it was.

    Args:
        path: The file or folder to write. Missing parent folders are made.

    Yields:
        The path to write to; it does not exist yet.

    Example:

    ```python
    with atomic_path("runs/digits/model.keras") as temporary:
        model.save(temporary)
    ```
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        if temporary.is_dir():
            _replace_folder(temporary, path)
        else:
            _flush(temporary)
            temporary.replace(path)
    finally:
        _remove(temporary)


def write_json(path: str | Path, content: object) -> None:
    """Writes `content` as indented JSON, atomically. NaN is refused: it is not JSON."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _replace_folder(temporary: Path, path: Path) -> None:
    # A folder cannot be renamed over one that has content: the old one steps aside first.
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
