"""The C library's memory allocator, set for the work that a training step does."""

import ctypes
import functools
import os
import sys

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_TOP_PAD_BYTES = 64 << 20
# Measured on two cores; many threads would wait for each other at one arena.
_MOST_CORES_OF_ONE_ARENA = 8
OPT_OUT = "PIXELCNNPP_KEEP_FREED_MEMORY"


def keep_freed_memory() -> bool:
    """Lets the process keep what it frees, for the next step to use again.

    A step allocates and frees hundreds of tensors of many megabytes. By default glibc gives each
    of them back to the operating system, which hands it out again page by page, zeroed: half of a
    training step on a CPU, measured. Afterwards the process stays as large as it was at its
    largest.

    The commands call it, and so does the first `fit` on a CPU, unless the environment variable
    `PIXELCNNPP_KEEP_FREED_MEMORY` is `0`. It holds for the whole process, which is why importing
    the package doesn't do it.

    Returns:
        Whether it took effect: with glibc on Linux, yes; elsewhere it does nothing.

    Example:

    ```python
    import keras_pixelcnnpp as kp

    kp.keep_freed_memory()
    model = kp.PixelCNNPlusPlus.from_preset("report")
    ```
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):  # such as Alpine's musl
        return False
    one_arena = (os.cpu_count() or 1) <= _MOST_CORES_OF_ONE_ARENA
    settings = {
        _M_MMAP_MAX: 0,  # no block of its own, to be unmapped when freed, however large
        _M_TRIM_THRESHOLD: -1,  # never shrink the heap
        _M_TOP_PAD: _TOP_PAD_BYTES,
        # One for all, or what a thread frees, another cannot use.
        **({_M_ARENA_MAX: 1} if one_arena else {}),
    }
    return min(libc.mallopt(option, value) for option, value in settings.items()) == 1


@functools.cache
def keep_freed_memory_unless_told() -> None:
    """`keep_freed_memory`, once a process, unless the environment asks not to."""
    if os.environ.get(OPT_OUT, "1") != "0":
        keep_freed_memory()
