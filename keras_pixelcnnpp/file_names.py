"""Names of files made from names that users gave."""

import re


def safe_name(class_name: str) -> str:
    """A class's name as part of a file name: what could lead to another folder becomes `_`."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", class_name)
