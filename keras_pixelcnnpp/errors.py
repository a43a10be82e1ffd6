"""The error that means "the input is wrong", as opposed to "the program is wrong"."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input from a user: data, options or files. The message is one clear line."""


class DiskFullError(UserError):
    """A file could not be written because the disk is full. What was there before is kept."""


def not_installed(purpose: str, package: str) -> UserError:
    """The error that says which package something needs, and how to get it."""
    return UserError(f"{purpose} needs {package}, which is not installed: pip install {package}")


_OUT_OF_MEMORY = (
    "ResourceExhaustedError",  # TensorFlow
    "RESOURCE_EXHAUSTED",  # JAX
    "out of memory",  # torch on a GPU
    "can't allocate memory",  # torch on a CPU
    "MemoryError",  # NumPy and Python
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of NumPy or of any backend says that the memory did not suffice."""
    # By name: the backends' classes differ, and only one backend is there to import them from.
    names = [kind.__name__ for kind in type(error).__mro__]
    return any(sign in text for sign in _OUT_OF_MEMORY for text in (*names, str(error)))


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception, or one that led to it, says that the disk is full."""
    while error is not None:
        # h5py and TensorFlow have the operating system's words, and not always its number.
        if getattr(error, "errno", None) in _NO_ROOM or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def argument_errors(**options: str) -> Iterator[None]:
    """Turns the `ValueError` of a constructor called with a user's options into a `UserError`.

    Args:
        **options: The name of the option that an argument comes from, where it is another one.

    Example:

    ```python
    with argument_errors():
        model = PixelCNNPlusPlus(filters=options["filters"], ...)
    ```
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        message = " ".join(str(error).split())
        for argument, option in options.items():
            message = message.replace(f"argument `{argument}`", f"option `{option}`")
        raise UserError(message) from error


@contextmanager
def without_retracing_advice() -> Iterator[None]:
    """Within it, or within a function that it decorates, TensorFlow does not advise on retracing.

    Every model, scorer and sampler is traced, once. TensorFlow takes all of them for one function,
    the one in Keras's code, and warns at the fifth of it, which nobody could heed.
    """

    def is_other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
