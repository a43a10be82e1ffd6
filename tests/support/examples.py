"""Number of examples of hypothesis: a few by default, all in `make soak`."""

import os

from hypothesis import settings

FULL = os.environ.get("PIXELCNNPP_TESTS") == "full"


def examples(count):
    """Returns settings with `count` examples in a full run, otherwise with a fifth."""
    return settings(max_examples=count if FULL else max(10, count // 5), deadline=None)
