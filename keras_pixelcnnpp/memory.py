"""The C library's memory allocator, set for the work that a training step does."""

import ctypes
import sys

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_TOP_PAD_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Lets the process keep what it frees, for the next step to use again.

    A step allocates and frees hundreds of tensors of many megabytes. By default glibc gives each
    of them back to the operating system, which hands it out again page by page, zeroed: half of a
    training step on a CPU, measured. Afterwards the process stays as large as it was at its
    largest.

    The commands call it. In a script or notebook of your own, call it before the first model is
    made; it holds for the whole process, which is why importing the package doesn't do it.

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
    settings = {
        _M_MMAP_MAX: 0,  # no block of its own, to be unmapped when freed, however large
        _M_TRIM_THRESHOLD: -1,  # never shrink the heap
        _M_TOP_PAD: _TOP_PAD_BYTES,
        _M_ARENA_MAX: 1,  # or what one thread frees, another cannot use
    }
    return min(libc.mallopt(option, value) for option, value in settings.items()) == 1
