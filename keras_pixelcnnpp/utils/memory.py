"""Memory: how many images are evaluated at once, and what happens with freed memory."""

import ctypes
import os
import platform
from collections.abc import Sequence

import numpy as np

# Upper bound of the features of one layer, which keeps a batch at about a gigabyte: 52 million
# features (128 images, 10 classes and the default network) took 4.0 GB.
MAX_LAYER_BYTES = 64_000_000


def rows_at_once(
    image_shape: tuple[int, int, int], widths: Sequence[int], dtype: str = "float32"
) -> int:
    """Returns how many images may be evaluated at once by layers with these numbers of channels."""
    height, width, _ = image_shape
    return max(1, MAX_LAYER_BYTES // (height * width * max(widths) * np.dtype(dtype).itemsize))


def keep_freed_memory() -> bool:
    """Makes the process keep freed memory for reuse, which speeds up training on a CPU.

    A training step allocates and frees hundreds of large tensors. By default, glibc returns each
    of them to the operating system, which then zeroes new pages. This can take three quarters of
    the time of a training step on a CPU. With this setting, the process never returns memory.

    All commands call this function. In Python, call it before `fit` on a CPU.

    Returns:
        Boolean, whether the setting is active. It is with glibc on Linux, unless the environment
        variable `PIXELCNNPP_KEEP_FREED_MEMORY` is `0`. Elsewhere, the function does nothing.

    Example:

    ```python
    import keras_pixelcnnpp as kp

    kp.keep_freed_memory()
    model = kp.PixelCNNPlusPlus.from_preset("digits")
    ```
    """
    is_told_not_to = os.environ.get("PIXELCNNPP_KEEP_FREED_MEMORY") == "0"
    if is_told_not_to or platform.libc_ver()[0] != "glibc":
        return False
    # Constants of glibc's malloc.h.
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    settings = {
        mmap_max: 0,  # allocate large blocks on the heap, too
        trim_threshold: -1,  # never shrink the heap
        top_pad: 64 << 20,
    }
    if (os.cpu_count() or 1) <= 8:
        # Threads share freed memory. With more threads, they would wait for each other.
        settings[arena_max] = 1
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(option, value) for option, value in settings.items())
