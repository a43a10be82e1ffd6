"""How many examples hypothesis tries: a few in every run, all of them in `make soak`."""

import os

from hypothesis import settings

FULL = os.environ.get("PIXELCNNPP_TESTS") == "full"


def examples(count):
    """`count` examples in a full run, a fifth of them else."""
    return settings(max_examples=count if FULL else max(10, count // 5), deadline=None)
