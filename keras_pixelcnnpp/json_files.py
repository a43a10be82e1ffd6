"""Reading JSON files that a user, or anybody else, may have written or damaged."""

import json
from pathlib import Path

from keras_pixelcnnpp.errors import UserError

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
