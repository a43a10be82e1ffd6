"""What was measured in every epoch of a training, read back."""

import json
from pathlib import Path


def read_history(path: str | Path) -> list[dict]:
    """The epochs that `callbacks.HistoryFile` wrote, in order; none if there is no such file.

    A file that is not what `HistoryFile` writes counts as none too: losing a curve must not stop a
    training.

    Returns:
        A dictionary for each epoch: `epoch`, counted from 1, `seconds`, and what was logged.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        return sorted(rows, key=lambda row: row["epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
