"""The error that means "the input is wrong", as opposed to "the program is wrong"."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input from a user: arguments, data or files. The message is one clear line."""


def invalid_argument(name: str, value: object, expected: str) -> UserError:
    """The error of an argument that has another value than was expected."""
    return UserError(
        f"Invalid value for argument `{name}`. Expected {expected}. Received: {name}={value!r:.200}"
    )


def not_installed(purpose: str, package: str) -> UserError:
    """The error that says which package something needs, and how to get it."""
    return UserError(f"{purpose} needs {package}, which is not installed: pip install {package}")


def one_line(error: BaseException) -> str:
    """What an exception says, in one line of at most 500 characters."""
    return " ".join(str(error).split())[:500] or type(error).__name__


@contextmanager
def as_user_error(what: str) -> Iterator[None]:
    """Within, an exception of any kind, but not for want of memory, becomes a `UserError`."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{what}: {one_line(error)}") from error


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
