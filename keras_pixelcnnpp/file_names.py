"""Names of files made from names that users gave."""

import re
from collections.abc import Sequence


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
